{{- define "plimsoll.labels" -}}
app.kubernetes.io/name: plimsoll
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "plimsoll.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- /* Where the API server finds the webhook: the one place that knows Service from URL. */ -}}
{{- define "plimsoll.clientConfig" -}}
{{- if .root.Values.webhook.url -}}
url: {{ .root.Values.webhook.url | quote }}
{{- else -}}
service:
  name: {{ .root.Release.Name }}-webhook
  namespace: {{ .root.Release.Namespace }}
  path: /validate
  port: 443
{{- end }}
{{- with .caBundle }}
caBundle: {{ . | quote }}
{{- end }}
{{- end }}

{{- /* Whether the chart's own process makes the webhook's certificate and keeps the registration's caBundle; empty where it does not. */ -}}
{{- define "plimsoll.keepsCertificate" -}}
{{- with .Values.webhook }}
{{- if and $.Values.processes.enabled (not (or .url .caBundle .tls.existingSecret .tls.injectCaFrom)) -}}
true
{{- end }}
{{- end }}
{{- end }}

{{- define "plimsoll.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "plimsoll.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- define "plimsoll.scheduling" -}}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .root.Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
securityContext: {{- include "plimsoll.podSecurity" .root | nindent 2 }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector: {matchLabels: {app.kubernetes.io/instance: {{ .root.Release.Name }}, app.kubernetes.io/component: {{ .component }}}}
{{- end }}

{{- /* What reading a volume, or the hub with a user's token, takes in a namespace. */ -}}
{{- define "plimsoll.readerRules" -}}
# Reader pods. What the controller may create and delete among pods is held by the ValidatingAdmissionPolicies in guard-pods.yaml.
- apiGroups: [""]
  resources: [pods] # makes the pod that reads a volume or the hub with a user's token, and takes it away again
  verbs: [create, delete]
- apiGroups: [""]
  resources: [persistentvolumeclaims] # whether a claim is bound: looking must not bind it
  verbs: [get]
{{- end }}
