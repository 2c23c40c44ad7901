{{- /* Bash's own TCP: the image need not have nc. */}}
{{- define "zookeeper.ask" -}}
exec: {command: [bash, -c, 'exec 3<>/dev/tcp/127.0.0.1/2181 && printf {{ first . }} >&3 && timeout 3 grep -q "{{ last . }}" <&3']}
timeoutSeconds: 5
{{- end }}

{{- define "zookeeper.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
terminationGracePeriodSeconds: 30
securityContext:
  runAsNonRoot: true
  runAsUser: 1000
  runAsGroup: 1000
  fsGroup: 1000
  fsGroupChangePolicy: OnRootMismatch
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
topologySpreadConstraints:
  {{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - topologyKey: {{ . }}
    maxSkew: 1
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "zookeeper.selector" $ | nindent 8 }}
  {{- end }}
containers:
  - name: zookeeper
    image: {{ include "zookeeper.image" . | quote }}
    imagePullPolicy: {{ .Values.image.pullPolicy }}
    # The image's entry point writes the number into /data/myid; they begin at 1, pods' at 0.
    command: [bash, -c, 'ZOO_MY_ID=$((${HOSTNAME##*-} + 1)) exec /docker-entrypoint.sh zkServer.sh start-foreground']
    env:
      - {name: ZK_SERVER_HEAP, value: {{ .Values.heapMegabytes | quote }}}
      - {name: JMXDISABLE, value: "true"}
      - {name: JVMFLAGS, value: {{ .Values.jvmFlags | quote }}}
    ports:
      - {name: client, containerPort: 2181}
      {{- if gt (int .Values.servers) 1 }}
      - {name: peer, containerPort: 2888}
      - {name: election, containerPort: 3888}
      {{- end }}
    startupProbe:
      {{- include "zookeeper.ask" (list "ruok" "imok") | nindent 6 }}
      periodSeconds: 2
      failureThreshold: 60
    livenessProbe:
      {{- include "zookeeper.ask" (list "ruok" "imok") | nindent 6 }}
      periodSeconds: 15
    readinessProbe: # has a mode, so it serves: alone, or with a majority
      {{- include "zookeeper.ask" (list "srvr" "^Mode: ") | nindent 6 }}
      periodSeconds: 5
    securityContext:
      allowPrivilegeEscalation: false
      readOnlyRootFilesystem: true
      capabilities: {drop: [ALL]}
    resources: {{- toYaml .Values.resources | nindent 6 }}
    volumeMounts:
      - {name: data, mountPath: /data}
      - {name: config, mountPath: /conf, readOnly: true}
      - {name: scratch, mountPath: /datalog, subPath: datalog}
      - {name: scratch, mountPath: /logs, subPath: logs}
      - {name: scratch, mountPath: /tmp, subPath: tmp}
volumes:
  - name: config
    configMap: {name: {{ include "zookeeper.name" . }}}
  - name: scratch
    emptyDir: {sizeLimit: 64Mi}
  {{- if eq .Values.storage.kind "ephemeral" }}
  - name: data
    emptyDir: {sizeLimit: {{ .Values.storage.size }}}
  {{- end }}
{{- end }}
