{{- define "exporter.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "exporter.fullname" -}}
{{- $name := include "exporter.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "exporter.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride -}}
{{- end -}}

{{- define "exporter.selectorLabels" -}}
app.kubernetes.io/name: {{ include "exporter.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "exporter.labels" -}}
{{ include "exporter.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "exporter.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "exporter.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "exporter.image" -}}
{{- with default .Values.image.registry .Values.global.imageRegistry }}{{ . }}/{{ end -}}
{{- .Values.image.repository -}}
{{- if .Values.image.digest }}@{{ .Values.image.digest }}{{ else }}:{{ default .Chart.AppVersion .Values.image.tag }}{{ end -}}
{{- end -}}

{{/* "true" if the inline configuration enables rotation. */}}
{{- define "exporter.rotates" -}}
{{- if not .Values.configExistingSecret -}}
{{- range .Values.config.connections -}}
{{- if eq (dig "rotation" "mode" "" .) "enabled" }}true{{ end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* "true" if the exporter has a volume. */}}
{{- define "exporter.persists" -}}
{{- $inAWS := and (not .Values.configExistingSecret) (dig "state" "aws" "" .Values.config) -}}
{{- if kindIs "bool" .Values.persistence.enabled -}}
{{- if .Values.persistence.enabled }}true{{ end -}}
{{- else if and (include "exporter.rotates" .) (not $inAWS) -}}
true
{{- end -}}
{{- end -}}

{{/* The configuration file. With a volume, state.directory is there. */}}
{{- define "exporter.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- $state := default dict $config.state -}}
{{- if and (include "exporter.persists" .) (not $state.directory) (not $state.aws) -}}
{{- $_ := set $config "state" (merge (dict "directory" .Values.persistence.mountPath) $state) -}}
{{- end -}}
{{- toYaml $config -}}
{{- end -}}

{{/* Combinations that values.schema.json cannot reject. */}}
{{- define "exporter.validate" -}}
{{- $persists := include "exporter.persists" . -}}
{{- $directory := "" -}}
{{- if not .Values.configExistingSecret -}}
{{- $directory = dig "state" "directory" "" .Values.config -}}
{{- end -}}
{{- if and $persists (gt (int .Values.replicas) 1) -}}
{{- fail (printf "replicas: %d is not possible with a volume: only one exporter may write the journal; set it to 1, or keep the state in AWS (config.state.aws)" (int .Values.replicas)) -}}
{{- end -}}
{{- if and (gt (int .Values.replicas) 1) (not .Values.configExistingSecret) (not (dig "state" "aws" "" .Values.config)) -}}
{{- fail (printf "replicas: %d is only possible with config.state.aws, where they share journals, token values and event counters; set it, or replicas to 1" (int .Values.replicas)) -}}
{{- end -}}
{{- if and (include "exporter.rotates" .) (not $persists) (not (dig "state" "aws" "" .Values.config)) -}}
{{- fail "persistence.enabled: false is not possible, because config enables a rotation, which must survive a restart; set it to null, or set config.state.aws" -}}
{{- end -}}
{{- if and $directory (not $persists) -}}
{{- fail "config.state.directory: no volume is there and the root file system is read-only; set persistence.enabled to true" -}}
{{- end -}}
{{- if and $directory (ne $directory .Values.persistence.mountPath) -}}
{{- fail (printf "config.state.directory: %s is not persistence.mountPath, %s" $directory .Values.persistence.mountPath) -}}
{{- end -}}
{{- if and .Values.rotationCronJob.enabled $persists (ne .Values.persistence.accessMode "ReadWriteOnce") -}}
{{- fail (printf "rotationCronJob.enabled: true is not possible with persistence.accessMode: %s, because its pod shares the volume; set ReadWriteOnce, or rotation.trigger: due instead" .Values.persistence.accessMode) -}}
{{- end -}}
{{- if and .Values.aws.roleArn .Values.aws.podIdentity -}}
{{- fail "aws.podIdentity: true is not possible together with aws.roleArn; set one of them" -}}
{{- end -}}
{{- if and .Values.aws.roleArn (not .Values.serviceAccount.create) -}}
{{- fail "aws.roleArn: the chart annotates only a service account that it creates; annotate yours, and remove this value" -}}
{{- end -}}
{{- if and (eq .Values.workloadIdentity.mode "aks") (not .Values.workloadIdentity.clientId) -}}
{{- fail "workloadIdentity.clientId: is empty; with mode aks it is the application (client) ID" -}}
{{- end -}}
{{- if .Values.alertmanagerConfig.enabled -}}
{{- if not (or .Values.alertmanagerConfig.httpConfig .Values.alertmanagerConfig.bearerTokenSecret.name .Values.secretFiles.existingSecret) -}}
{{- fail "alertmanagerConfig.bearerTokenSecret.name: is empty, and so is secretFiles.existingSecret; the webhook needs a token" -}}
{{- end -}}
{{- if and (not .Values.configExistingSecret) (not (hasKey .Values.config "webhook")) -}}
{{- fail "config.webhook: is missing; without it the exporter has no endpoint for alertmanagerConfig" -}}
{{- end -}}
{{- end -}}
{{- range .Values.prometheusRule.disabled -}}
{{- if not (has . (include "exporter.alerts" $ | fromJsonArray)) -}}
{{- fail (printf "prometheusRule.disabled: %s is not an alert" .) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The names of the alerts, as JSON. */}}
{{- define "exporter.alerts" -}}
{{- $names := list -}}
{{- range $path, $_ := .Files.Glob "files/rules/*.yml" -}}
{{- range ($.Files.Get $path | fromYaml).groups -}}
{{- range .rules -}}
{{- with .alert }}{{ $names = append $names . }}{{ end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $names | uniq | toJson -}}
{{- end -}}
