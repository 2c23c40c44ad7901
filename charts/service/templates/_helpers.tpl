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

{{- /* The Secret whose keys are files in /etc/kiteshop/database, or nothing. */}}
{{- define "service.databaseSecret" -}}
{{- if eq .Values.storage.kind "database" -}}
{{- with .Values.global.database -}}
{{ .urlSecret | default .secret | default (ternary "postgresql-auth" "" (empty .url)) }}
{{- end -}}
{{- end -}}
{{- end }}

{{- /* The database's URL without the password, or nothing where all of it is secret. */}}
{{- define "service.databaseURL" -}}
{{- with .Values.global.database -}}
{{- if not .urlSecret -}}
{{- $url := .url | default "postgres://kiteshop@postgresql:5432/kiteshop?sslmode=disable" -}}
{{- if or (not (regexMatch "^postgres(ql)?://[^:@/? ]+@[A-Za-z0-9.-]+(:[0-9]+)?/[^/? ]+([?][^ ]*)?$" $url)) (regexMatch "[?&]password(_file)?=" $url) -}}
{{ fail "\n\nglobal.database.url must be as postgres://USER@HOST:5432/DATABASE?sslmode=verify-full, without a password: whoever may read ConfigMaps would know it. Put the password into the key `password` of a Secret, and name that with global.database.secret; or all of the URL into the key `url`, with global.database.urlSecret.\n" }}
{{- end -}}
{{ $url }}
{{- if include "service.databaseSecret" $ }}{{ ternary "&" "?" (contains "?" $url) }}password_file=/etc/kiteshop/database/password{{ end }}
{{- end -}}
{{- end -}}
{{- end }}

{{- /* host:port of the database, *:port where the host is secret, or nothing without one. */}}
{{- define "service.databaseAddress" -}}
{{- if eq .Values.storage.kind "database" -}}
{{- $host := regexReplaceAll "^[a-z]+://([^@]*@)?([^/?]*).*$" (include "service.databaseURL" .) "${2}" -}}
{{- if not $host -}}
*:{{ .Values.global.database.port }}
{{- else -}}
{{ $host }}{{ if not (regexMatch ":[0-9]+$" $host) }}:5432{{ end }}
{{- end -}}
{{- end -}}
{{- end }}

{{- /* True where the data is a SQLite file, which one process opens. */}}
{{- define "service.file" -}}
{{- if has .Values.storage.kind (list "ephemeral" "persistent") }}true{{ end -}}
{{- end }}

{{- /* How many pods there are at least. */}}
{{- define "service.replicas" -}}
{{- if .Values.autoscaling.enabled -}}
{{ .Values.autoscaling.minReplicas }}
{{- else if kindIs "invalid" .Values.replicas -}}
{{ ternary 1 2 (eq (include "service.file" .) "true") }}
{{- else -}}
{{ .Values.replicas }}
{{- end -}}
{{- end }}

{{- /* The pods of another service in the namespace, which holds one shop. */}}
{{- define "service.peer" -}}
podSelector: {matchLabels: {app.kubernetes.io/name: {{ . }}}}
{{- end }}

{{- /* True in the upgrade that brings the identities: the pods of before have none. */}}
{{- define "service.unknownCallers" -}}
{{- if and .Release.IsUpgrade (not (lookup "v1" "Secret" .Release.Namespace (printf "%s-identity" (include "service.name" .)))) }}true{{ end -}}
{{- end }}

{{- define "service.settings" -}}
KITESHOP_{{ .Values.protocol | upper }}: ":{{ .Values.port }}"
KITESHOP_ADMIN: ":{{ .Values.adminPort }}"
KITESHOP_REGISTRY: {{ include "service.registry" . | quote }}
{{- if include "service.file" . }}
KITESHOP_DATA: /data
{{- else if eq .Values.storage.kind "database" }}
{{- with include "service.databaseURL" . }}
KITESHOP_STORE: {{ . | quote }}
{{- end }}
{{- end }}
{{- if .Values.global.policies }}
KITESHOP_POLICIES: /etc/kiteshop/policies/policies.yaml
{{- end }}
{{- if .Values.global.identity.enabled }}
KITESHOP_IDENTITY_KEY: /etc/kiteshop/identity/tls.key
KITESHOP_IDENTITY_TRUST: /etc/kiteshop/trust
KITESHOP_IDENTITY_REQUIRED: {{ and .Values.global.identity.required (not (include "service.unknownCallers" .)) | quote }}
{{- end }}
{{- range $flag, $value := .Values.config }}
KITESHOP_{{ $flag | upper | replace "-" "_" }}: {{ $value | toString | quote }}
{{- end }}
{{- with .Values.global.telemetry.collector }}
OTEL_EXPORTER_OTLP_ENDPOINT: {{ printf "http://%s" . | quote }}
OTEL_METRIC_EXPORT_INTERVAL: "15000" # ms, as often as Prometheus asks
{{- end }}
{{- end }}
