// Package e2e tests the shop from outside: over HTTP and Kitex, with real
// processes, files and signals.
package e2e
