{{- /* By TCP: while the image makes the database, its server has a socket only. */}}
{{- define "postgresql.ask" -}}
pg_isready --quiet --host 127.0.0.1 --username kiteshop --dbname kiteshop
{{- end }}

{{- define "postgresql.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
terminationGracePeriodSeconds: 60 # SIGINT, the image's signal, ends the sessions and writes a checkpoint
securityContext:
  runAsNonRoot: true
  runAsUser: 999
  runAsGroup: 999
  fsGroup: 999
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
containers:
  - name: postgresql
    image: {{ include "postgresql.image" . | quote }}
    imagePullPolicy: {{ .Values.image.pullPolicy }}
    args:
      - postgres
      - --hba_file=/etc/postgresql/pg_hba.conf
      {{- range $key, $value := .Values.config }}
      - {{ printf "--%s=%v" $key $value | quote }}
      {{- end }}
    env:
      # Not the volume itself, which may have a lost+found.
      - {name: PGDATA, value: /var/lib/postgresql/data/pgdata}
      # The image demands one for the superuser, who has no use for it: pg_hba.conf.
      - {name: POSTGRES_PASSWORD_FILE, value: /etc/postgresql/auth/password}
      # C.UTF-8 sorts the same in every C library, so indexes outlive a change of the image.
      - {name: POSTGRES_INITDB_ARGS, value: --encoding=UTF8 --locale=C.UTF-8 --data-checksums --auth=scram-sha-256}
    ports:
      - {name: postgresql, containerPort: 5432}
    startupProbe: # 1: it lives and lets nobody in yet, as when it recovers
      exec: {command: [sh, -c, '{{ include "postgresql.ask" . }} || [ $? = 1 ]']}
      periodSeconds: 2
      timeoutSeconds: 5
      failureThreshold: 60
    livenessProbe:
      exec: {command: [sh, -c, '{{ include "postgresql.ask" . }} || [ $? = 1 ]']}
      periodSeconds: 15
      timeoutSeconds: 5
    readinessProbe:
      exec: {command: [sh, -c, exec {{ include "postgresql.ask" . }}]}
      periodSeconds: 5
      timeoutSeconds: 5
    securityContext:
      allowPrivilegeEscalation: false
      readOnlyRootFilesystem: true
      capabilities: {drop: [ALL]}
    resources: {{- toYaml .Values.resources | nindent 6 }}
    volumeMounts:
      - {name: data, mountPath: /var/lib/postgresql/data}
      - {name: config, mountPath: /etc/postgresql/pg_hba.conf, subPath: pg_hba.conf, readOnly: true}
      - {name: config, mountPath: /docker-entrypoint-initdb.d/kiteshop.sql, subPath: kiteshop.sql, readOnly: true}
      - {name: auth, mountPath: /etc/postgresql/auth, readOnly: true}
      - {name: scratch, mountPath: /var/run/postgresql, subPath: run}
      - {name: scratch, mountPath: /tmp, subPath: tmp}
volumes:
  - name: config
    configMap: {name: {{ include "postgresql.name" . }}}
  - name: auth
    secret: {secretName: {{ include "postgresql.secret" . }}, defaultMode: 0440, items: [{key: password, path: password}]}
  - name: scratch
    emptyDir: {sizeLimit: 64Mi}
  {{- if eq .Values.storage.kind "ephemeral" }}
  - name: data
    emptyDir: {sizeLimit: {{ .Values.storage.size }}}
  {{- end }}
{{- end }}
