{{- /* (list $ part): what the pods of all parts have. */}}
{{- define "observability.pod" -}}
{{- $ := first . }}
{{- $part := last . }}
{{- $values := index $.Values $part.name -}}
automountServiceAccountToken: false
enableServiceLinks: false # Grafana and Prometheus would take them for settings
securityContext:
  runAsNonRoot: true
  runAsUser: {{ $part.user }}
  runAsGroup: {{ $part.user }}
  fsGroup: {{ $part.user }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- with $.Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $.Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $.Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $.Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $.Values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
containers:
  - name: {{ $part.name }}
    image: {{ include "observability.image" $values.image | quote }}
    imagePullPolicy: {{ $values.image.pullPolicy }}
    securityContext:
      allowPrivilegeEscalation: false
      readOnlyRootFilesystem: true
      capabilities: {drop: [ALL]}
    resources: {{- toYaml $values.resources | nindent 6 }}
    {{- include (printf "observability.%s.container" $part.name) $ | nindent 4 }}
volumes:
  - name: config
    configMap: {name: {{ $part.name }}}
  {{- include (printf "observability.%s.volumes" $part.name) $ | nindent 2 }}
  {{- if eq $values.storage.kind "ephemeral" }}
  - name: data
    emptyDir: {sizeLimit: {{ $values.storage.size }}}
  {{- end }}
{{- end }}
