package config

import "testing"

func TestTry(t *testing.T) {
	c, err := parse("c.yml", "/etc/exporter", []byte(`tenants:
  - tenant_id: 11111111-1111-1111-1111-111111111111
    client_id: 22222222-2222-2222-2222-222222222222
    client_secret_file: /run/secrets/entra-client-secret
connections:
  - name: corp
    aws: {region: eu-central-1}
`))
	t.Log(err)
	t.Log("\n" + c.String())
}
