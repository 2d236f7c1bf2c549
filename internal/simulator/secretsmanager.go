package simulator

import "entra-aws-exporter/internal/simulator/clouds"

const secretsTarget = "secretsmanager."

func secretsOperations() map[string]operation {
	return map[string]operation{
		secretsTarget + "CreateSecret": {name: "CreateSecret", serve: func(c *call) (response, error) {
			type request struct{ Name, ClientRequestToken, SecretString, KmsKeyId string } //nolint:revive // AWS's own spelling
			return jsonCall(c, mutate, func(m *clouds.Model, r request) (clouds.ManagedSecret, error) {
				return m.CreateManagedSecret(c.caller, clouds.NewManagedSecret{Name: r.Name, Token: r.ClientRequestToken, Value: r.SecretString, KMSKeyID: r.KmsKeyId})
			}, func(s clouds.ManagedSecret) object {
				return object{"ARN": s.ARN, "Name": s.Name, "VersionId": s.VersionID}
			})
		}},
		secretsTarget + "GetSecretValue": {name: "GetSecretValue", serve: func(c *call) (response, error) {
			type request struct{ SecretId, VersionId string } //nolint:revive // AWS's own spelling
			return jsonCall(c, query, func(m *clouds.Model, r request) (clouds.ManagedSecret, error) {
				return m.ManagedSecretValue(c.caller, r.SecretId, r.VersionId)
			}, func(s clouds.ManagedSecret) object {
				return object{
					"ARN": s.ARN, "Name": s.Name, "VersionId": s.VersionID, "SecretString": s.Value,
					"VersionStages": []string{"AWSCURRENT"}, "CreatedDate": epoch(s.Created),
				}
			})
		}},
		secretsTarget + "DeleteSecret": {name: "DeleteSecret", serve: func(c *call) (response, error) {
			type request struct {
				SecretId                   string //nolint:revive // AWS's own spelling
				RecoveryWindowInDays       int
				ForceDeleteWithoutRecovery bool
			}
			return jsonCall(c, mutate, func(m *clouds.Model, r request) (clouds.ManagedSecret, error) {
				return m.DeleteManagedSecret(c.caller, r.SecretId, r.RecoveryWindowInDays, r.ForceDeleteWithoutRecovery)
			}, func(s clouds.ManagedSecret) object {
				return object{"ARN": s.ARN, "Name": s.Name, "DeletionDate": epoch(s.Deletion)}
			})
		}},
	}
}
