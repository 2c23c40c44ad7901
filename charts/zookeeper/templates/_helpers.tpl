{{- define "zookeeper.name" -}}
{{ .Values.name | default .Chart.Name }}
{{- end }}

{{- define "zookeeper.selector" -}}
app.kubernetes.io/name: {{ include "zookeeper.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- /* The pods' labels: without the chart's version, whose change restarts nothing. */}}
{{- define "zookeeper.podLabels" -}}
{{ include "zookeeper.selector" . }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | trunc 63 | trimAll "-_." | quote }}
app.kubernetes.io/part-of: kiteshop
{{- end }}

{{- define "zookeeper.labels" -}}
{{ include "zookeeper.podLabels" . }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "zookeeper.image" -}}
{{- with .Values.image -}}
{{- $tag := .tag | default (ternary "" $.Chart.AppVersion (ne .digest "")) -}}
{{ .repository }}{{ with $tag }}:{{ . }}{{ end }}{{ with .digest }}@{{ . }}{{ end }}
{{- end -}}
{{- end }}

{{- define "zookeeper.files" -}}
{{- $name := include "zookeeper.name" . -}}
zoo.cfg: |
  dataDir=/data
  clientPort=2181
  # Milliseconds. Sessions time out after 2 to 20 ticks: 4 s to 40 s.
  tickTime=2000
  initLimit=10
  syncLimit=5
  # Hours, and how many snapshots stay.
  autopurge.purgeInterval=1
  autopurge.snapRetainCount=3
  # The probes and `kubectl exec` use these; they answer without a password.
  4lw.commands.whitelist=ruok,srvr
  admin.enableServer=false
  {{- range $key, $value := .Values.config }}
  {{ $key }}={{ $value }}
  {{- end }}
  {{- if gt (int .Values.servers) 1 }}
  quorumListenOnAllIPs=true
  {{- range $i := until (int .Values.servers) }}
  server.{{ add $i 1 }}={{ $name }}-{{ $i }}.{{ $name }}-servers.{{ $.Release.Namespace }}.svc:2888:3888
  {{- end }}
  {{- end }}
logback.xml: |
  <configuration>
    <appender name="console" class="ch.qos.logback.core.ConsoleAppender">
      <encoder><pattern>%d{ISO8601} [myid:%X{myid}] %-5p %c{1} %m%n</pattern></encoder>
    </appender>
    <root level="INFO"><appender-ref ref="console"/></root>
  </configuration>
{{- end }}
