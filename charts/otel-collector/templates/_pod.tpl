{{- define "otel-collector.pod" -}}
automountServiceAccountToken: false
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
    args: [--config=/etc/otel-collector/config.yaml]
    ports:
      - {name: otlp-grpc, containerPort: 4317}
      - {name: otlp-http, containerPort: 4318}
      - {name: metrics, containerPort: 8888}
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
