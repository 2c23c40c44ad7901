{{- define "otel-collector.pod" -}}
{{- if .Values.kubernetes.enabled }}
serviceAccountName: {{ include "otel-collector.name" . }}
serviceAccount: {{ include "otel-collector.name" . }} # the old name of the same: else the API server keeps it when a rollback takes the account away
{{- end }}
automountServiceAccountToken: {{ .Values.kubernetes.enabled }}
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
containers:
  - name: otel-collector
    image: {{ include "otel-collector.image" . | quote }}
    imagePullPolicy: {{ .Values.image.pullPolicy }}
    args:
      {{- range $file, $_ := include "otel-collector.files" . | fromYaml }}
      - --config=/etc/otel-collector/{{ $file }}
      {{- end }}
    env:
      - {name: SLOW_MILLISECONDS, value: {{ .Values.sampling.slowMilliseconds | quote }}}
      - {name: KEEP_PERCENT, value: {{ .Values.sampling.percent | quote }}}
      - {name: DECISION_WAIT, value: {{ printf "%vs" .Values.sampling.waitSeconds | quote }}}
      {{- with include "otel-collector.traces" . }}
      - {name: JAEGER_ENDPOINT, value: {{ . | quote }}}
      {{- end }}
      {{- if .Values.kubernetes.enabled }}
      - name: NAMESPACE
        valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
      {{- end }}
    ports:
      - {name: otlp-grpc, containerPort: 4317}
      - {name: otlp-http, containerPort: 4318}
      - {name: metrics, containerPort: 8888} # its own
      - {name: shop-metrics, containerPort: 8889}
      - {name: health, containerPort: 13133}
    startupProbe:
      httpGet: {path: /, port: health}
      periodSeconds: 1
      failureThreshold: 60
    livenessProbe:
      httpGet: {path: /, port: health}
    readinessProbe:
      httpGet: {path: /, port: health}
      periodSeconds: 5
    securityContext:
      allowPrivilegeEscalation: false
      readOnlyRootFilesystem: true
      capabilities: {drop: [ALL]}
    resources: {{- toYaml .Values.resources | nindent 6 }}
    volumeMounts:
      - {name: config, mountPath: /etc/otel-collector, readOnly: true}
volumes:
  - name: config
    configMap: {name: {{ include "otel-collector.name" . }}}
{{- end }}
