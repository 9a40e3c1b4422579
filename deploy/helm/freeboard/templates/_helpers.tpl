{{/* The agent takes its live settings from this namespace, and pods of node-critical priority may be here. So it is not the release's. */}}
{{- define "freeboard.namespace" -}}
kube-system
{{- end -}}

{{- define "freeboard.agentLabels" -}}
{ app.kubernetes.io/name: freeboard-agent, app.kubernetes.io/part-of: freeboard, k8s-app: aws-node }
{{- end -}}

{{- define "freeboard.controllerLabels" -}}
{ app.kubernetes.io/name: freeboard-controller, app.kubernetes.io/part-of: freeboard }
{{- end -}}

{{- define "freeboard.controllerPort" -}}
{{- splitList ":" .Values.controller.bindAddress | last -}}
{{- end -}}

{{/* Whether the controller listens where nobody but its own node reaches it. */}}
{{- define "freeboard.controllerIsClosed" -}}
{{- if hasPrefix "127." .Values.controller.bindAddress }}true{{ end -}}
{{- end -}}

{{/* Whether a definition is this release's to write: it is, unless somebody else has installed it. EKS brings the ENIConfig's. */}}
{{- define "freeboard.ownsDefinition" -}}
{{- $there := lookup "apiextensions.k8s.io/v1" "CustomResourceDefinition" "" .name -}}
{{- $owner := dig "metadata" "annotations" "meta.helm.sh/release-name" "" ($there | default dict) -}}
{{- if or (not $there) (eq $owner .release) }}true{{ end -}}
{{- end -}}

{{/* Whether the controller carries out expansions, and needs the access for it. */}}
{{- define "freeboard.expands" -}}
{{- if eq (toString (index .Values.controller.settings "FREEBOARD_EXPANSIONS")) "true" }}true{{ end -}}
{{- end -}}
