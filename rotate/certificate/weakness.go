package certificate

import (
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
)

// minRSABits is the shortest RSA key that may sign.
const minRSABits = 2048

// x509Certificate is as much of a certificate as tells whether it is weak. Package x509
// refuses some that Entra signs with, such as those with a negative serial number.
type x509Certificate struct {
	Signed struct {
		Version   int `asn1:"optional,explicit,default:0,tag:0"`
		Serial    *big.Int
		Algorithm pkix.AlgorithmIdentifier
		Issuer    asn1.RawValue
		Validity  asn1.RawValue
		Subject   asn1.RawValue
		PublicKey asn1.RawValue
	}
	Algorithm pkix.AlgorithmIdentifier
	Signature asn1.BitString
}

// weakAlgorithms names the signature algorithms with a broken hash.
// https://www.rfc-editor.org/rfc/rfc3279#section-2.2
func weakAlgorithms() map[string]string {
	return map[string]string{
		"1.2.840.113549.1.1.2": "MD2-RSA",
		"1.2.840.113549.1.1.4": "MD5-RSA",
		"1.2.840.113549.1.1.5": "SHA1-RSA",
		"1.2.840.10040.4.3":    "SHA1-DSA",
		"1.2.840.10045.4.1":    "SHA1-ECDSA",
	}
}

// weakness says why a certificate must not be trusted; "": nothing is known against it. AWS
// refuses what is no certificate.
func weakness(der []byte) string {
	var c x509Certificate
	if _, err := asn1.Unmarshal(der, &c); err != nil {
		return ""
	}
	if algorithm, weak := weakAlgorithms()[c.Algorithm.Algorithm.String()]; weak {
		return "it is signed with " + algorithm
	}
	key, _ := x509.ParsePKIXPublicKey(c.Signed.PublicKey.FullBytes)
	if public, isRSA := key.(*rsa.PublicKey); isRSA && public.N.BitLen() < minRSABits {
		return fmt.Sprintf("its RSA key has %d bits, fewer than %d", public.N.BitLen(), minRSABits)
	}
	return ""
}
