package bus

import (
	"strings"
	"testing"
	"testing/quick"
)

func TestRedact(t *testing.T) {
	for addresses, want := range map[string]string{
		"":                               "",
		"nats://host:4222":               "nats://host:4222",
		"host:4222, tls://[::1]:4222":    "host:4222, tls://[::1]:4222",
		"[fe80::ab]:4222":                "[fe80::ab]:4222",
		"nats://joe:s3cret@host":         "nats://***@host",
		"nats://s3cret@host:4222":        "nats://***@host:4222",
		"joe:s3cret@host:4222":           "***@host:4222",
		"nats://a:s3cret@h1,nats://h2:1": "nats://***@h1,nats://h2:1",
		"nats://h2:1,nats://a:s3cret@h1": "nats://h2:1,nats://***@h1",
		"h2:1,nats://a:s3cret@h1":        "h2:1,nats://***@h1",
		"nats://joe:s3%20cr%40et@host":   "nats://***@host",
		"nats://joe:s3cret@s3cret@host":  "nats://***@host",
		"nats://joe:/s3cret/#?@host":     "nats://***@host",
		"nats://joe:s3 cret@host":        "nats://***@host",
		"nats:/joe:s3cret@host":          "***@host",
		"nats://joe:s3cret":              "nats://***",
		"joe:s3cret":                     "***",
		"nats://joe:s3cret%40host":       "nats://***",
		"nats://joe:12,s3cret@host":      "nats://***@host",
		"nats://joe:1,2,s3cret@host":     "nats://***@host",
		"h1:1,joe:s3cret@h2:2,h3:3":      "***@h2:2,h3:3",
		"nats://host?token=s3cret":       "nats://host?***",
		"nats://host/path":               "nats://host/path",
	} {
		if got := Redact(addresses); got != want {
			t.Errorf("%q becomes %q, want %q", addresses, got, want)
		}
	}
}

// No part of any password is left, whatever characters it has.
func TestRedactAnyPassword(t *testing.T) {
	hides := func(b []byte, before bool) bool {
		var password strings.Builder
		for _, c := range b { // mostly punctuation, and no character of the rest of the address
			password.WriteByte(" !#%&*/:;=?@,ABC123"[int(c)%19])
		}
		list := "nats://joe:" + password.String() + "@host:7"
		if before {
			list = "nats://other:8," + list
		}
		return !strings.ContainsAny(Redact(list), "ABC123") && strings.HasSuffix(Redact(list), "@host:7")
	}
	if err := quick.Check(hides, nil); err != nil {
		t.Error(err)
	}
}

func TestRedactText(t *testing.T) {
	for text, want := range map[string]string{
		`parse "nats://joe:s3cret@ho st": invalid`:             `parse "nats://***@ho st": invalid`,
		`waiting for nats://127.0.0.1:1: connection refused`:   `waiting for nats://127.0.0.1:1: connection refused`,
		`no answer at nats://t0ken@a:1,nats://b:2 (timeout)`:   `no answer at nats://***@a:1,nats://b:2 (timeout)`,
		`"nats://joe:s3cret": write nats://HOST:PORT`:          `"nats://*** write nats://HOST:PORT`,
		`"nats://a:4222" and user@example.com in /home/a@b/c:`: `"nats://a:4222" and user@example.com in /home/a@b/c:`,
	} {
		if got := RedactText(text); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
}

// What Connect says of its address has no password.
func TestConnectHidesPasswords(t *testing.T) {
	for _, address := range []string{
		"nats://joe:s3cret@127.0.0.1:1", "joe:s3cret@127.0.0.1:1", "nats://s3cret@127.0.0.1:1",
		"nats://joe:s3cret", "nats://joe:my s3cret@127.0.0.1:1", "nats://joe:%s3cret@127.0.0.1:1",
		"nats://127.0.0.1:1,nats://joe:s3cret@[::1", "s3cret://joe@127.0.0.1:1/\x7fs3cret",
	} {
		_, err := Connect(t.Context(), ConnOptions{URL: address})
		if err == nil || strings.Contains(err.Error(), "s3cret@") || strings.Contains(err.Error(), ":s3cret") || strings.Contains(err.Error(), "my s") {
			t.Errorf("%s: %v", address, err)
		}
	}
}
