{{- define "observability.grafana.files" -}}
datasources.yaml: |
  apiVersion: 1
  datasources:
    - name: Prometheus
      uid: prometheus
      type: prometheus
      url: {{ .Values.grafana.prometheusURL }}
      isDefault: true
      jsonData:
        timeInterval: 15s
        # From an example in a graph to its trace.
        exemplarTraceIdDestinations: [{name: trace_id, datasourceUid: jaeger}]
    - name: Jaeger
      uid: jaeger
      type: jaeger
      url: {{ .Values.grafana.jaegerURL }}
dashboards.yaml: |
  apiVersion: 1
  providers:
    - name: kiteshop
      folder: Kiteshop
      type: file
      allowUiUpdates: false
      options: {path: /etc/grafana/dashboards}
{{- end }}

{{- define "observability.grafana.container" -}}
env:
  - {name: GF_SECURITY_ADMIN_PASSWORD__FILE, value: /etc/grafana/auth/password}
  - {name: GF_LOG_MODE, value: console}
  - {name: GF_USERS_ALLOW_SIGN_UP, value: "false"}
  # It asks nobody outside of the cluster for anything.
  - {name: GF_ANALYTICS_REPORTING_ENABLED, value: "false"}
  - {name: GF_ANALYTICS_CHECK_FOR_UPDATES, value: "false"}
  - {name: GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES, value: "false"}
  - {name: GF_PLUGINS_PREINSTALL_DISABLED, value: "true"}
  - {name: GF_NEWS_NEWS_FEED_ENABLED, value: "false"}
ports:
  - {name: http, containerPort: 3000}
startupProbe: # an empty database is made first
  httpGet: {path: /api/health, port: http}
  periodSeconds: 2
  failureThreshold: 90
livenessProbe:
  httpGet: {path: /api/health, port: http}
  timeoutSeconds: 5
readinessProbe:
  httpGet: {path: /api/health, port: http}
  periodSeconds: 5
volumeMounts:
  - {name: config, mountPath: /etc/grafana/provisioning/datasources/kiteshop.yaml, subPath: datasources.yaml, readOnly: true}
  - {name: config, mountPath: /etc/grafana/provisioning/dashboards/kiteshop.yaml, subPath: dashboards.yaml, readOnly: true}
  - {name: dashboards, mountPath: /etc/grafana/dashboards, readOnly: true}
  - {name: auth, mountPath: /etc/grafana/auth, readOnly: true}
  - {name: data, mountPath: /var/lib/grafana, subPath: grafana}
  - {name: scratch, mountPath: /tmp}
{{- end }}

{{- define "observability.grafana.volumes" -}}
- name: dashboards
  configMap: {name: grafana-dashboards}
- name: auth
  secret: {secretName: {{ include "observability.secret" . }}, defaultMode: 0440, items: [{key: password, path: password}]}
- name: scratch
  emptyDir: {sizeLimit: 64Mi}
{{- end }}
