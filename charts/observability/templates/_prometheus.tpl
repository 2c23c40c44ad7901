{{- define "observability.prometheus.files" -}}
prometheus.yml: |
  global: {scrape_interval: 15s, evaluation_interval: 15s}
  rule_files: [/etc/prometheus/rules/*.yaml]
  scrape_configs:
    # What the services sent. Whose it is, job and instance say already.
    - job_name: shop
      honor_labels: true
      static_configs: [{targets: ["{{ .Values.prometheus.collector }}:8889"]}]
    - job_name: otel-collector
      static_configs: [{targets: ["{{ .Values.prometheus.collector }}:8888"]}]
    - job_name: prometheus
      static_configs: [{targets: ["localhost:9090"]}]
    {{- if .Values.jaeger.enabled }}
    - job_name: jaeger
      static_configs: [{targets: ["jaeger:8888"]}]
    {{- end }}
{{- end }}

{{- define "observability.prometheus.container" -}}
args:
  - --config.file=/etc/prometheus/prometheus.yml
  - --storage.tsdb.path=/prometheus
  - --storage.tsdb.retention.time={{ .Values.prometheus.retention.time }}
  - --storage.tsdb.retention.size={{ .Values.prometheus.retention.size }}
  - --enable-feature=exemplar-storage
ports:
  - {name: http, containerPort: 9090}
startupProbe: # it reads what it has before it answers
  httpGet: {path: /-/ready, port: http}
  periodSeconds: 2
  failureThreshold: 150
livenessProbe:
  httpGet: {path: /-/healthy, port: http}
  timeoutSeconds: 5
readinessProbe:
  httpGet: {path: /-/ready, port: http}
  periodSeconds: 5
volumeMounts:
  - {name: config, mountPath: /etc/prometheus/prometheus.yml, subPath: prometheus.yml, readOnly: true}
  - {name: rules, mountPath: /etc/prometheus/rules, readOnly: true}
  - {name: data, mountPath: /prometheus, subPath: prometheus} # not the volume itself, which may have a lost+found
{{- end }}

{{- define "observability.prometheus.volumes" -}}
- name: rules
  configMap: {name: prometheus-rules}
{{- end }}
