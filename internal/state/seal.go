package state

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"filippo.io/age"

	"entra-aws-exporter/internal/model"
)

// seal encrypts what the vault keeps with age (https://age-encryption.org), so that
// disks and backups do not show it. A compromised process has the key; nothing here
// helps against that.
type seal struct{ identityFile string }

func (s seal) on() bool { return s.identityFile != "" }

// identities reads the identity file: the first identity encrypts, any of them
// decrypts, so a new key is put before the old one.
func (s seal) identities() ([]age.Identity, error) {
	content, err := os.ReadFile(s.identityFile)
	if err != nil {
		return nil, fmt.Errorf("reading the age identity: %w", err)
	}
	identities, err := age.ParseIdentities(bytes.NewReader(content))
	if err != nil { // its text could quote the key
		return nil, fmt.Errorf("reading the age identity: %s has no identity as age-keygen makes them (AGE-SECRET-KEY-1…)", s.identityFile)
	}
	return identities, nil
}

func (s seal) close(value model.Secret) ([]byte, error) {
	if !s.on() {
		return []byte(value.Reveal()), nil
	}
	identities, err := s.identities()
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
		return nil, fmt.Errorf("the first identity of %s cannot encrypt; use one that age-keygen makes", s.identityFile)
	}
	var sealed bytes.Buffer
	writer, err := age.Encrypt(&sealed, recipient)
	if err == nil {
		_, err = io.WriteString(writer, value.Reveal())
	}
	if err == nil {
		err = writer.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("encrypting for the vault: %w", err)
	}
	return sealed.Bytes(), nil
}

// open returns the value of an entry, which may be from a time without encryption.
func (s seal) open(isSealed bool, sealed []byte) (model.Secret, error) {
	if !isSealed {
		return model.NewSecret(string(sealed)), nil
	}
	if !s.on() {
		return model.Secret{}, fmt.Errorf("%w: it is encrypted and state.age_identity_file is not set", model.ErrUnreadable)
	}
	identities, err := s.identities()
	if err != nil {
		return model.Secret{}, err
	}
	reader, err := age.Decrypt(bytes.NewReader(sealed), identities...)
	if err != nil {
		return model.Secret{}, fmt.Errorf("%w: no identity in %s decrypts it", model.ErrUnreadable, s.identityFile)
	}
	value, err := io.ReadAll(reader)
	if err != nil {
		return model.Secret{}, fmt.Errorf("%w: corrupt: its encryption is broken", model.ErrUnreadable)
	}
	return model.NewSecret(string(value)), nil
}

// check proves that what is encrypted now can be decrypted.
func (s seal) check() error {
	if !s.on() {
		return nil
	}
	probe := model.NewSecret("probe")
	sealed, err := s.close(probe)
	if err != nil {
		return err
	}
	opened, err := s.open(true, sealed)
	if err == nil && !opened.Equal(probe) {
		err = errors.New("the vault's encryption does not give back what it was given")
	}
	return err
}
