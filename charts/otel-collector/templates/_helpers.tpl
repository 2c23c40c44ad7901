{{- define "otel-collector.name" -}}
{{ .Values.name | default .Chart.Name }}
{{- end }}

{{- define "otel-collector.selector" -}}
app.kubernetes.io/name: {{ include "otel-collector.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- /* The pods' labels: without the chart's version, whose change restarts nothing. */}}
{{- define "otel-collector.podLabels" -}}
{{ include "otel-collector.selector" . }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | trunc 63 | trimAll "-_." | quote }}
app.kubernetes.io/part-of: kiteshop
{{- end }}

{{- define "otel-collector.labels" -}}
{{ include "otel-collector.podLabels" . }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "otel-collector.image" -}}
{{- with .Values.image -}}
{{- $tag := .tag | default (ternary "" $.Chart.AppVersion (ne .digest "")) -}}
{{ .repository }}{{ with $tag }}:{{ . }}{{ end }}{{ with .digest }}@{{ . }}{{ end }}
{{- end -}}
{{- end }}

{{- /* host:port that traces go to, or nothing. */}}
{{- define "otel-collector.traces" -}}
{{ .Values.traces.endpoint | default (dig "telemetry" "traces" "" (.Values.global | default dict)) }}
{{- end }}

{{- /* The configuration: each file is laid over those before it. */}}
{{- define "otel-collector.files" -}}
1-config.yaml: |
  {{- .Files.Get "config.yaml" | trim | nindent 2 }}
{{- if .Values.kubernetes.enabled }}
2-kubernetes.yaml: |
  {{- .Files.Get "kubernetes.yaml" | trim | nindent 2 }}
{{- end }}
{{- if not (include "otel-collector.traces" .) }}
3-no-traces.yaml: |
  service: {pipelines: {traces: {exporters: [debug]}}}
{{- end }}
{{- with .Values.config }}
4-values.yaml: |
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
