{{- define "postgresql.name" -}}
{{ .Values.name | default .Chart.Name }}
{{- end }}

{{- define "postgresql.secret" -}}
{{ .Values.auth.secret | default (printf "%s-auth" (include "postgresql.name" .)) }}
{{- end }}

{{- define "postgresql.selector" -}}
app.kubernetes.io/name: {{ include "postgresql.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- /* The pods' labels: without the chart's version, whose change restarts nothing. */}}
{{- define "postgresql.podLabels" -}}
{{ include "postgresql.selector" . }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | trunc 63 | trimAll "-_." | quote }}
app.kubernetes.io/part-of: kiteshop
{{- end }}

{{- define "postgresql.labels" -}}
{{ include "postgresql.podLabels" . }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "postgresql.image" -}}
{{- with .Values.image -}}
{{- $tag := .tag | default (ternary "" $.Chart.AppVersion (ne .digest "")) -}}
{{ .repository }}{{ with $tag }}:{{ . }}{{ end }}{{ with .digest }}@{{ . }}{{ end }}
{{- end -}}
{{- end }}

{{- define "postgresql.files" -}}
pg_hba.conf: |
  # The superuser is reached in the pod only: kubectl exec {{ include "postgresql.name" . }}-0 -- psql
  local all      postgres     peer
  host  kiteshop kiteshop all scram-sha-256
kiteshop.sql: |
  \set password `cat /etc/postgresql/auth/password`
  CREATE ROLE kiteshop LOGIN PASSWORD :'password';
  CREATE DATABASE kiteshop OWNER kiteshop;
{{- end }}
