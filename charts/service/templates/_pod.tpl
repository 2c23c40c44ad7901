{{- define "service.pod" -}}
{{- $secret := include "service.registrySecret" . -}}
{{- $stored := include "service.file" . -}}
{{- $database := include "service.databaseSecret" . -}}
{{- $urlSecret := ternary .Values.global.database.urlSecret "" (eq .Values.storage.kind "database") -}}
{{- $advertised := not (has .Values.global.registry.kind (list "static" "dns")) -}}
{{- $policies := .Values.global.policies -}}
{{- $identity := .Values.global.identity.enabled -}}
{{- $scratch := eq .Values.global.registry.kind "nacos" -}}{{/* its client writes a log and a cache below /tmp */}}
automountServiceAccountToken: false
enableServiceLinks: false # they would make KITESHOP_ variables of services' names
terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  {{- if or $stored $secret $database $identity .Values.secrets }}
  fsGroup: 65532
  fsGroupChangePolicy: OnRootMismatch
  {{- end }}
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
{{- with .Values.spread.topologyKeys }}
topologySpreadConstraints:
  {{- range . }}
  - topologyKey: {{ . }}
    maxSkew: 1
    whenUnsatisfiable: {{ $.Values.spread.whenUnsatisfiable }}
    matchLabelKeys: [pod-template-hash]
    labelSelector:
      matchLabels: {{- include "service.selector" $ | nindent 8 }}
  {{- end }}
{{- end }}
containers:
  - name: {{ include "service.name" . }}
    image: {{ include "service.image" . | quote }}
    imagePullPolicy: {{ .Values.image.pullPolicy }}
    envFrom:
      - configMapRef: {name: {{ include "service.name" . }}}
    env:
      - name: POD_NAME
        valueFrom: {fieldRef: {fieldPath: metadata.name}}
      - name: POD_UID
        valueFrom: {fieldRef: {fieldPath: metadata.uid}}
      - name: POD_NAMESPACE
        valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
      - name: OTEL_RESOURCE_ATTRIBUTES
        value: service.instance.id=$(POD_NAME),k8s.pod.name=$(POD_NAME),k8s.pod.uid=$(POD_UID),k8s.namespace.name=$(POD_NAMESPACE)
      {{- if $advertised }}
      - name: KITESHOP_ADVERTISE
        valueFrom: {fieldRef: {fieldPath: status.podIP}}
      {{- end }}
      {{- with $urlSecret }}
      - name: KITESHOP_STORE
        valueFrom: {secretKeyRef: {name: {{ . }}, key: url}}
      {{- end }}
    ports:
      - {name: {{ .Values.protocol }}, containerPort: {{ .Values.port }}}
      - {name: admin, containerPort: {{ .Values.adminPort }}}
    startupProbe: # up to 1 minute for the database to come, and 2 for a migration
      httpGet: {path: /livez, port: admin}
      periodSeconds: 1
      failureThreshold: 180
    livenessProbe:
      httpGet: {path: /livez, port: admin}
      periodSeconds: 10
      timeoutSeconds: 3
    readinessProbe: # the program looks for up to 1 s
      httpGet: {path: /readyz, port: admin}
      periodSeconds: 2
      timeoutSeconds: 2
      failureThreshold: 2
    {{- with .Values.preStopSeconds }}
    lifecycle:
      preStop: {sleep: {seconds: {{ . }}}}
    {{- end }}
    securityContext:
      allowPrivilegeEscalation: false
      readOnlyRootFilesystem: true
      capabilities: {drop: [ALL]}
    resources: {{- toYaml .Values.resources | nindent 6 }}
    {{- if or $stored $secret $database $policies $identity .Values.secrets $scratch }}
    volumeMounts:
      {{- if $stored }}
      - {name: data, mountPath: /data}
      {{- end }}
      {{- if $secret }}
      - {name: registry, mountPath: /etc/kiteshop/registry, readOnly: true}
      {{- end }}
      {{- if $database }}
      - {name: database, mountPath: /etc/kiteshop/database, readOnly: true}
      {{- end }}
      {{- if $policies }}
      - {name: policies, mountPath: /etc/kiteshop/policies, readOnly: true}
      {{- end }}
      {{- if $identity }}
      - {name: identity, mountPath: /etc/kiteshop/identity, readOnly: true}
      - {name: trust, mountPath: /etc/kiteshop/trust, readOnly: true}
      {{- end }}
      {{- range $name, $secret := .Values.secrets }}
      - {name: secret-{{ $name }}, mountPath: /etc/kiteshop/{{ $name }}, readOnly: true}
      {{- end }}
      {{- if $scratch }}
      - {name: scratch, mountPath: /tmp}
      {{- end }}
    {{- end }}
{{- if or $stored $secret $database $policies $identity .Values.secrets $scratch }}
volumes:
  {{- if eq .Values.storage.kind "persistent" }}
  - name: data
    persistentVolumeClaim: {claimName: {{ include "service.name" . }}}
  {{- else if $stored }}
  - name: data
    emptyDir: {sizeLimit: {{ .Values.storage.size }}}
  {{- end }}
  {{- with $secret }}
  - name: registry
    secret: {secretName: {{ . }}, defaultMode: 0440, items: [{key: password, path: password}]}
  {{- end }}
  {{- with $database }}
  - name: database
    secret: {secretName: {{ . }}, defaultMode: 0440}
  {{- end }}
  {{- with $policies }}
  - name: policies
    configMap: {name: {{ . }}}
  {{- end }}
  {{- if $identity }}
  - name: identity
    secret: {secretName: {{ include "service.name" . }}-identity, defaultMode: 0440}
  - name: trust
    configMap: {name: trust}
  {{- end }}
  {{- range $name, $secret := .Values.secrets }}
  - name: secret-{{ $name }}
    secret: {secretName: {{ $secret }}, defaultMode: 0440}
  {{- end }}
  {{- if $scratch }}
  - name: scratch
    emptyDir: {sizeLimit: 64Mi}
  {{- end }}
{{- end }}
{{- end }}
