package model

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"math/big"
	"testing"
)

// Entra has issued certificates with a negative serial number. go.mod makes Go accept them.
func TestNegativeSerialNumber(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial := []byte{0x7e, 1, 2, 3, 4, 5, 6, 7}
	template := &x509.Certificate{SerialNumber: new(big.Int).SetBytes(serial), NotBefore: days(-1), NotAfter: days(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	negative := bytes.Replace(der, serial, append([]byte{0xfe}, serial[1:]...), 1)
	parsed, err := x509.ParseCertificate(negative)
	if err != nil || parsed.SerialNumber.Sign() >= 0 {
		t.Fatalf("serial number %v: %v", parsed, err)
	}
	if got := NewCertificate(parsed); got.Thumbprint != Thumbprint(negative) {
		t.Errorf("thumbprint %s", got.Thumbprint)
	}
}
