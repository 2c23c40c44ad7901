{{- /* The parts that are enabled, by name. */}}
{{- define "observability.parts" -}}
{{- range $name := list "prometheus" "jaeger" "grafana" }}
{{- if (index $.Values $name).enabled }}
{{ $name }}: {{ toJson (dict "name" $name "port" (get (dict "prometheus" 9090 "jaeger" 16686 "grafana" 3000) $name) "user" (get (dict "prometheus" 65534 "jaeger" 10001 "grafana" 472) $name)) }}
{{- end }}
{{- end }}
{{- end }}

{{- /* Of a part: (list $ name). */}}
{{- define "observability.selector" -}}
app.kubernetes.io/name: {{ last . }}
app.kubernetes.io/instance: {{ (first .).Release.Name }}
{{- end }}

{{- /* The pods' labels: without the chart's version, whose change restarts nothing. */}}
{{- define "observability.podLabels" -}}
{{ include "observability.selector" . }}
app.kubernetes.io/version: {{ (index (first .).Values (last .)).image.tag | trunc 63 | trimAll "-_." | quote }}
app.kubernetes.io/part-of: kiteshop
{{- end }}

{{- define "observability.labels" -}}
{{ include "observability.podLabels" . }}
app.kubernetes.io/managed-by: {{ (first .).Release.Service }}
helm.sh/chart: {{ printf "%s-%s" (first .).Chart.Name (first .).Chart.Version }}
{{- end }}

{{- define "observability.image" -}}
{{ .repository }}{{ with .tag }}:{{ . }}{{ end }}{{ with .digest }}@{{ . }}{{ end }}
{{- end }}

{{- define "observability.secret" -}}
{{ .Values.grafana.auth.secret | default "grafana-auth" }}
{{- end }}

{{- /* The files of a folder, as the data of a ConfigMap. */}}
{{- define "observability.folder" -}}
{{- range $path, $content := . }}
{{ base $path }}: {{ $content | toString | toJson }}
{{- end }}
{{- end }}
