{{- /* A value as text. Helm reads 10485760 as a floating-point number, and would write 1.048576e+07. */ -}}
{{- define "provider-gateway.text" -}}
{{- if kindIs "invalid" . }}{{ quote "" }}{{ else if kindIs "float64" . }}{{ toJson . | quote }}
{{- else }}{{ toString . | quote }}{{ end -}}
{{- end -}}
