package state

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"filippo.io/age"

	"entra-aws-exporter/internal/model"
)

// encryptor encrypts token values with age (https://age-encryption.org). It protects
// disks and backups. It does not protect against a compromised process, which has the key.
type encryptor struct{ identityFile string }

func (e encryptor) enabled() bool { return e.identityFile != "" }

// check proves that what is encrypted now can be decrypted.
func (e encryptor) check() error {
	if !e.enabled() {
		return nil
	}
	probe := model.NewSecret("probe")
	encrypted, err := e.encrypt(probe)
	if err != nil {
		return err
	}
	decrypted, err := e.decrypt(encrypted)
	if err == nil && !decrypted.Equal(probe) {
		err = errors.New("checking the encryption: decrypting returned another value")
	}
	return err
}

// identities reads the identity file. The first identity encrypts, any of them
// decrypts: to change the key, put the new one before the old one.
func (e encryptor) identities() ([]age.Identity, error) {
	content, err := model.ReadFile(e.identityFile)
	if err != nil {
		return nil, fmt.Errorf("reading the age identity: %w", err)
	}
	identities, err := age.ParseIdentities(bytes.NewReader(content))
	if err != nil { // its text could quote the key
		return nil, fmt.Errorf("reading the age identity: %s has no valid identity (AGE-SECRET-KEY-1…); create one with age-keygen", e.identityFile)
	}
	return identities, nil
}

func (e encryptor) encrypt(value model.Secret) ([]byte, error) {
	identities, err := e.identities()
	if err != nil {
		return nil, err
	}
	var recipient age.Recipient
	switch first := identities[0].(type) {
	case *age.X25519Identity:
		recipient = first.Recipient()
	case *age.HybridIdentity:
		recipient = first.Recipient()
	default:
		return nil, fmt.Errorf("the first identity in %s cannot encrypt; create one with age-keygen", e.identityFile)
	}
	var encrypted bytes.Buffer
	writer, err := age.Encrypt(&encrypted, recipient)
	if err == nil {
		_, err = io.WriteString(writer, value.Reveal())
	}
	if err == nil {
		err = writer.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("encrypting a token: %w", err)
	}
	return encrypted.Bytes(), nil
}

func (e encryptor) decrypt(encrypted []byte) (model.Secret, error) {
	if !e.enabled() {
		return model.Secret{}, fmt.Errorf("%w: it is encrypted, but state.age_identity_file is not set", model.ErrUnreadable)
	}
	identities, err := e.identities()
	if err != nil {
		return model.Secret{}, err
	}
	reader, err := age.Decrypt(bytes.NewReader(encrypted), identities...)
	if err != nil {
		return model.Secret{}, fmt.Errorf("%w: no identity in %s decrypts it", model.ErrUnreadable, e.identityFile)
	}
	value, err := io.ReadAll(reader)
	if err != nil {
		return model.Secret{}, fmt.Errorf("%w: corrupt: decryption failed", model.ErrUnreadable)
	}
	return model.NewSecret(string(value)), nil
}
