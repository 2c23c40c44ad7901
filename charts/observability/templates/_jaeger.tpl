{{- define "observability.jaeger.files" -}}
config.yaml: |
  service:
    extensions: [jaeger_storage, jaeger_query, healthcheckv2]
    telemetry:
      resource: {service.name: jaeger}
      metrics:
        readers:
          - pull: {exporter: {prometheus: {host: "0.0.0.0", port: 8888}}}
    pipelines:
      traces: {receivers: [otlp], processors: [batch], exporters: [jaeger_storage_exporter]}
  extensions:
    healthcheckv2: {use_v2: true, http: {endpoint: "0.0.0.0:13133"}}
    jaeger_query:
      storage: {traces: traces}
      http: {endpoint: "0.0.0.0:16686"}
    jaeger_storage:
      backends:
        traces:
          {{- if eq .Values.jaeger.storage.kind "persistent" }}
          badger:
            directories: {keys: /data/keys, values: /data/values}
            ephemeral: false
            ttl: {spans: {{ .Values.jaeger.retention }}}
          {{- else }}
          memory: {max_traces: {{ int .Values.jaeger.maxTraces }}}
          {{- end }}
  receivers:
    otlp: {protocols: {grpc: {endpoint: "0.0.0.0:4317"}}}
  processors:
    batch: {}
  exporters:
    jaeger_storage_exporter: {trace_storage: traces}
{{- end }}

{{- define "observability.jaeger.container" -}}
args: [--config=/etc/jaeger/config.yaml]
ports:
  - {name: http, containerPort: 16686}
  - {name: otlp-grpc, containerPort: 4317}
  - {name: metrics, containerPort: 8888}
  - {name: health, containerPort: 13133}
startupProbe:
  httpGet: {path: /status, port: health}
  periodSeconds: 1
  failureThreshold: 120
livenessProbe:
  httpGet: {path: /status, port: health}
  timeoutSeconds: 5
readinessProbe:
  httpGet: {path: /status, port: health}
  periodSeconds: 5
volumeMounts:
  - {name: config, mountPath: /etc/jaeger, readOnly: true}
  - {name: data, mountPath: /data, subPath: jaeger}
  - {name: scratch, mountPath: /tmp}
{{- end }}

{{- define "observability.jaeger.volumes" -}}
- name: scratch
  emptyDir: {sizeLimit: 64Mi}
{{- end }}
