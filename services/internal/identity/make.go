package identity

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"time"
)

// maxDays is how long a certificate may be valid: ten years.
const maxDays = 3650

// Make makes a key for service, and its certificate, which is valid from now on for days.
func Make(service string, now time.Time, days int) (key, certificate []byte, err error) {
	if err := checkName(service); err != nil {
		return nil, nil, err
	}
	if days < 1 || days > maxDays {
		return nil, nil, fmt.Errorf("days is %d; it must be 1 to %d", days, maxDays)
	}
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, nil, err
	}
	packed, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, err
	}
	certificate, err = certify(service, private, now, days)
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: packed}), certificate, err
}

// certify says that the key of private is service's.
func certify(service string, private ed25519.PrivateKey, now time.Time, days int) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	about := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: service}, KeyUsage: x509.KeyUsageDigitalSignature,
		NotBefore: now.Add(-skew), NotAfter: now.AddDate(0, 0, days),
	}
	signed, err := x509.CreateCertificate(rand.Reader, about, about, private.Public(), private)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: signed}), err
}
