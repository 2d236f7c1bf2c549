package model

import (
	"bytes"
	"fmt"
	"os"
)

// ReadFile reads a file that an operator wrote: a secret, a certificate, a configuration.
func ReadFile(path string) ([]byte, error) {
	content, err := os.ReadFile(path) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, err
	}
	return WithoutBOM(path, content)
}

// WithoutBOM removes the byte order mark of UTF-8, which editors and shells on Windows
// write, and reports a file in UTF-16, which would be taken for a wrong secret.
func WithoutBOM(path string, content []byte) ([]byte, error) {
	if bytes.HasPrefix(content, []byte("\xFF\xFE")) || bytes.HasPrefix(content, []byte("\xFE\xFF")) {
		return nil, fmt.Errorf("%s is encoded in UTF-16; save it as UTF-8", path)
	}
	return bytes.TrimPrefix(content, []byte("\xEF\xBB\xBF")), nil
}
