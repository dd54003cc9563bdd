{{- /*
What the ValidatingAdmissionPolicies in guard-*.yaml share. RBAC says which kinds the controller may write; they say which objects of
these kinds, and what may be in them. All of them are asked about the controller's account alone, and cost others one comparison.
*/ -}}

{{- /* Their names, which the controller is told so that its log says which are missing. */ -}}
{{- define "plimsoll.guard.names" -}}
- children
- deployments
- leaderworkersets
- services
- budgets
- pods
{{- if .Values.reader.enabled }}
- reader-pods
{{- end }}
- profiles
- gpupools
- events
- leases
{{- end }}

{{- /* The header of one policy: dict "root" . "name" "children". */ -}}
{{- define "plimsoll.guard.head" -}}
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata:
  name: {{ .root.Release.Name }}-controller-{{ .name }}
  labels: {{- include "plimsoll.labels" .root | nindent 4 }}
{{- end }}

{{- define "plimsoll.guard.binding" -}}
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: {{ .root.Release.Name }}-controller-{{ .name }}
  labels: {{- include "plimsoll.labels" .root | nindent 4 }}
spec:
  policyName: {{ .root.Release.Name }}-controller-{{ .name }}
  validationActions: [Deny]
{{- end }}

{{- define "plimsoll.guard.condition" -}}
- name: by-the-controller
  expression: request.userInfo.username == 'system:serviceaccount:{{ .Release.Namespace }}:{{ .Release.Name }}-controller'
{{- end }}

{{- /* Where nothing of the controller's belongs, whoever owns it. */ -}}
{{- define "plimsoll.guard.places" -}}
- expression: "!request.namespace.startsWith('kube-') && request.namespace != '{{ .Release.Namespace }}'"
  reason: Forbidden
  messageExpression: "'the controller writes no ' + request.resource.resource + ' in ' + request.namespace"
  message: the controller writes nothing of the kind in kube-* and in its own namespace
{{- end }}

{{- /* Whether an object is controlled by the InferenceDeployment that it is named after: dict "of" "object". */ -}}
{{- define "plimsoll.guard.isChild" -}}
has({{ .of }}.metadata.ownerReferences) && {{ .of }}.metadata.ownerReferences.exists(row,
has(row.controller) && row.controller && row.kind == 'InferenceDeployment' && row.apiVersion.startsWith('inference.plimsoll.dev/') &&
{{ .of }}.metadata.name == row.name + (request.resource.resource == 'leaderworkersets' ? '-group' : ''))
{{- end }}

{{- /*
What a pod template may hold: what rendering can make of a plan and spec.template, and no more. Needs the variables `pods` (specs) and
`settled` (an update that leaves the templates as they are: what others with rights there have put in is theirs).
*/ -}}
{{- define "plimsoll.guard.template" -}}
- expression: >-
    variables.settled || variables.pods.all(pod,
    (!has(pod.hostNetwork) || !pod.hostNetwork || {{ .Values.controller.hostNetwork }}) && (!has(pod.hostPID) || !pod.hostPID) && (!has(pod.hostIPC) || !pod.hostIPC) &&
    (!has(pod.nodeName) || pod.nodeName == ''))
  reason: Forbidden
  message: the controller makes no pods in the host's namespaces (its network aside, by controller.hostNetwork of the chart) or past the scheduler
- expression: >-
    variables.settled || variables.pods.all(pod, !has(pod.volumes) || pod.volumes.all(volume,
    has(volume.emptyDir) || has(volume.configMap) || has(volume.secret) || has(volume.persistentVolumeClaim) || has(volume.image) ||
    (has(volume.csi) && volume.csi.driver in {{ .Values.controller.csiDrivers | toJson }})))
  reason: Forbidden
  message: >-
    the controller mounts emptyDirs, ConfigMaps, Secrets, claims, images and volumes of the drivers in controller.csiDrivers of the chart, and
    no other kind of volume
- expression: >-
    variables.settled || variables.pods.all(pod, !has(pod.securityContext) || (!has(pod.securityContext.sysctls) &&
    !has(pod.securityContext.windowsOptions) && !has(pod.securityContext.seLinuxOptions) && !has(pod.securityContext.appArmorProfile) &&
    (!has(pod.securityContext.seccompProfile) || pod.securityContext.seccompProfile.type == 'RuntimeDefault')))
  reason: Forbidden
  message: the controller loosens nothing in a pod's security context
- expression: >-
    variables.settled || variables.pods.all(pod,
    (pod.containers + (has(pod.initContainers) ? pod.initContainers : [])).all(container,
    has(container.securityContext) && has(container.securityContext.allowPrivilegeEscalation) &&
    !container.securityContext.allowPrivilegeEscalation &&
    (!has(container.securityContext.privileged) || !container.securityContext.privileged) &&
    has(container.securityContext.capabilities) && has(container.securityContext.capabilities.drop) &&
    container.securityContext.capabilities.drop.exists(name, name == 'ALL') &&
    (!has(container.securityContext.capabilities.add) || container.securityContext.capabilities.add.all(name, name == 'IPC_LOCK')) &&
    (!has(container.securityContext.procMount) || container.securityContext.procMount == 'Default') &&
    !has(container.securityContext.windowsOptions) && !has(container.securityContext.seLinuxOptions) &&
    !has(container.securityContext.appArmorProfile) &&
    (!has(container.securityContext.seccompProfile) || container.securityContext.seccompProfile.type == 'RuntimeDefault')))
  reason: Forbidden
  message: the controller makes no privileged container and none that keeps a capability or adds one but IPC_LOCK
- expression: >-
    variables.settled || variables.pods.all(pod,
    (pod.containers + (has(pod.initContainers) ? pod.initContainers : [])).all(container,
    !has(container.ports) || container.ports.all(port, !has(port.hostPort) || port.hostPort == 0 ||
    ({{ .Values.controller.hostNetwork }} && has(pod.hostNetwork) && pod.hostNetwork && port.hostPort == port.containerPort))))
  reason: Forbidden
  message: the controller opens no port of a node
- expression: >-
    variables.settled || variables.pods.all(pod, pod.?serviceAccountName.orValue('') == variables.account &&
    pod.?serviceAccount.orValue(variables.account) == variables.account &&
    (variables.account != '' || (has(pod.automountServiceAccountToken) && !pod.automountServiceAccountToken)))
  reason: Forbidden
  message: the controller gives pods without an account no token, and all pods of one replica the same account
- expression: >-
    variables.settled || variables.account == '' || authorizer.group('').resource('serviceaccounts').namespace(request.namespace)
    .name(variables.account).check('use').allowed()
  reason: Forbidden
  messageExpression: >-
    'the controller needs the verb use on ServiceAccount ' + request.namespace + '/' + variables.account + ' to run pods as it: see ' +
    'controller.serviceAccounts of the chart'
  message: the controller needs the verb use on a ServiceAccount to run pods as it
{{- end }}

{{- /* The hub that reader pods may send a user's token to: the one that the controller itself is told to ask. */ -}}
{{- define "plimsoll.guard.hub" -}}
{{- $found := .Values.hub.endpoint }}
{{- range .Values.controller.env }}
{{- if and (eq .name "HF_ENDPOINT") (not $found) }}
{{- $found = .value }}
{{- end }}
{{- end }}
{{- $found | default "https://huggingface.co" | trimSuffix "/" }}
{{- end }}
