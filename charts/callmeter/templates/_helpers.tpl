{{- define "callmeter.fullname" -}}
{{- if contains "callmeter" .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{ else }}{{ printf "%s-callmeter" .Release.Name | trunc 40 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "callmeter.labels" -}}
app.kubernetes.io/part-of: callmeter
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "callmeter.image" -}}
{{ .root.Values.image.repository }}/{{ .name }}:{{ .root.Values.image.tag | default .root.Chart.AppVersion }}
{{- end }}

{{- define "callmeter.tlsSecret" -}}
{{ .Values.gateway.tls.existingSecret | default (printf "%s-gateway-tls" (include "callmeter.fullname" .)) }}
{{- end }}

{{- define "callmeter.caConfigMap" -}}
{{ include "callmeter.fullname" . }}-gateway-ca
{{- end }}

{{- define "callmeter.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "callmeter.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- define "callmeter.scheduling" -}}
{{- with .pullSecrets }}
imagePullSecrets: {{ toJson . }}
{{- end }}
{{- with .of.nodeSelector }}
nodeSelector: {{ toJson . }}
{{- end }}
{{- with .of.tolerations }}
tolerations: {{ toJson . }}
{{- end }}
{{- with .of.affinity }}
affinity: {{ toJson . }}
{{- end }}
{{- with .of.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end }}

{{- /* What the operator may do with the objects it serves. No verb here reads a Secret. */}}
{{- define "callmeter.operatorRules" -}}
- apiGroups: [""]
  resources: [configmaps]
  verbs: [create, delete, get, patch]
- apiGroups: [""]
  resources: [pods]
  verbs: [create, delete, get, list, patch, watch]
{{- if .Values.claim.enabled }}
- apiGroups: [""]
  resources: [secrets]
  verbs: [create, delete]
{{- end }}
- apiGroups: [callmeter.io]
  resources: [callmeterworkers]
  verbs: [create, delete, get, list, patch, watch]
- apiGroups: [callmeter.io]
  resources: [calltests, workerpools]
  verbs: [get, list, patch, watch]
- apiGroups: [callmeter.io]
  resources: [callmeterworkers/status, calltests/status, workerpools/status]
  verbs: [patch]
- apiGroups: [callmeter.io]
  resources: [workerpools/scale]
  verbs: [update]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}
