{{- define "service.name" -}}
{{ .Values.name | default .Chart.Name }}
{{- end }}

{{- define "service.selector" -}}
app.kubernetes.io/name: {{ include "service.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- /* The pods' labels: without the chart's version, whose change restarts nothing. */}}
{{- define "service.podLabels" -}}
{{ include "service.selector" . }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | trunc 63 | trimAll "-_." | quote }}
app.kubernetes.io/part-of: kiteshop
{{- end }}

{{- define "service.labels" -}}
{{ include "service.podLabels" . }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "service.image" -}}
{{- with .Values.image -}}
{{- $tag := .tag | default (ternary "" $.Chart.AppVersion (ne .digest "")) -}}
{{ required "image.repository is empty: name the image of the service, as ghcr.io/kiteshop/item" .repository }}
{{- with $tag }}:{{ . }}{{ end }}
{{- with .digest }}@{{ . }}{{ end }}
{{- end -}}
{{- end }}

{{- /* The Secret with the registry's password, or nothing when there is no user. */}}
{{- define "service.registrySecret" -}}
{{- with .Values.global.registry -}}
{{- if and .user (has .kind (list "zookeeper" "etcd" "nacos")) -}}
{{ .secret | default (ternary "zookeeper-auth" "" (eq .kind "zookeeper")) }}
{{- end -}}
{{- end -}}
{{- end }}

{{- /* host:port,… of the registry, or nothing where the cluster's DNS is asked. */}}
{{- define "service.registryAddress" -}}
{{- with .Values.global.registry -}}
{{- if eq .kind "zookeeper" -}}
{{ .address | default "zookeeper:2181" }}
{{- else if has .kind (list "etcd" "nacos") -}}
{{ required (printf "global.registry.address is empty: %s runs outside of this chart, so say where, as host:port" .kind) .address }}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "service.registry" -}}
{{- $registry := .Values.global.registry -}}
{{- $parameters := list -}}
{{- if has $registry.kind (list "static" "dns") -}}
{{- $host := ternary "%s=%s:%v" "%s=%s-headless:%v" (eq $registry.kind "static") -}}
{{- $entries := list -}}
{{- if eq .Values.protocol "rpc" -}}
{{- $name := include "service.name" . -}}
{{- $entries = append $entries (printf $host $name $name .Values.port) -}}
{{- end -}}
{{- range .Values.upstreams -}}
{{- $entries = append $entries (printf $host .name .name .port) -}}
{{- end -}}
{{ $registry.kind }}://{{ join "," $entries }}
{{- else -}}
{{- $secret := include "service.registrySecret" . -}}
{{ $registry.kind }}://
{{- if $secret }}{{ $registry.user }}@{{ end }}
{{- include "service.registryAddress" . }}
{{- if $secret }}{{ $parameters = append $parameters "password_file=/etc/kiteshop/registry/password" }}{{ end }}
{{- end -}}
{{- with $registry.parameters }}{{ $parameters = append $parameters . }}{{ end }}
{{- with $parameters }}?{{ join "&" . }}{{ end }}
{{- end }}

{{- /* The pods of another service in the namespace, which holds one shop. */}}
{{- define "service.peer" -}}
podSelector: {matchLabels: {app.kubernetes.io/name: {{ . }}}}
{{- end }}

{{- define "service.settings" -}}
KITESHOP_{{ .Values.protocol | upper }}: ":{{ .Values.port }}"
KITESHOP_ADMIN: ":{{ .Values.adminPort }}"
KITESHOP_REGISTRY: {{ include "service.registry" . | quote }}
{{- if ne .Values.storage.kind "none" }}
KITESHOP_DATA: /data
{{- end }}
{{- range $flag, $value := .Values.config }}
KITESHOP_{{ $flag | upper | replace "-" "_" }}: {{ $value | toString | quote }}
{{- end }}
{{- end }}
