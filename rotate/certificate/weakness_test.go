package certificate

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"testing"
)

// What must not be trusted.
func TestWeakness(t *testing.T) {
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	strong, short := selfSigned(t, 2048), selfSigned(t, 1024)
	for name, test := range map[string]struct {
		der  []byte
		want string
	}{
		"2048 bits": {strong, ""},
		"a curve":   {signed(t, curve.Public(), curve, x509.ECDSAWithSHA256), ""},
		"1024 bits": {short, "its RSA key has 1024 bits, fewer than 2048"},
		"SHA-1":     {withAlgorithm(strong, 5), "it is signed with SHA1-RSA"},
		"MD5":       {withAlgorithm(strong, 4), "it is signed with MD5-RSA"},
		"1024 bits, and a negative serial number": {negativeSerial(short), "its RSA key has 1024 bits, fewer than 2048"},
		"no certificate":          {[]byte("x"), ""},
		"SHA-1, and no signature": {withoutSignature(withAlgorithm(strong, 5)), ""},
	} {
		if got := weakness(test.der); got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

// selfSigned makes a certificate with an RSA key of so many bits.
func selfSigned(t *testing.T, bits int) []byte {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return signed(t, key.Public(), key, x509.SHA256WithRSA)
}

func signed(t *testing.T, public, private any, algorithm x509.SignatureAlgorithm) []byte {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "x"}, SignatureAlgorithm: algorithm}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// withoutSignature makes the 2048 bits of a signature something else than a bit string.
func withoutSignature(der []byte) []byte {
	changed := bytes.Clone(der)
	changed[len(changed)-256-5] = 0x04
	return changed
}

// withAlgorithm replaces the algorithm sha256WithRSAEncryption by another one of PKCS #1.
func withAlgorithm(der []byte, last byte) []byte {
	sha256WithRSA := []byte{0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b}
	changed := append([]byte(nil), der...)
	for i := range len(changed) - len(sha256WithRSA) {
		if string(changed[i:i+len(sha256WithRSA)]) == string(sha256WithRSA) {
			changed[i+len(sha256WithRSA)-1] = last
		}
	}
	return changed
}

// negativeSerial makes the serial number negative.
func negativeSerial(der []byte) []byte {
	one := []byte{0x02, 0x01, 0x01}
	changed := append([]byte(nil), der...)
	changed[bytes.Index(changed, append([]byte{0x02}, one...))+3] = 0xff
	return changed
}
