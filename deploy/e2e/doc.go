// Package e2e tests what is installed on Kubernetes: the charts as they are
// rendered and, with the build tag cluster, on the cluster that KUBECONFIG names.
package e2e
