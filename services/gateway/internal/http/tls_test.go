package http

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	stdhttp "net/http"
	"strings"
	"testing"
	"time"
)

// TestAConnectionThatWaitsIsHungUpWhenTheGatewayStops: without it Hertz waits for its idle timeout.
func TestAConnectionThatWaitsIsHungUpWhenTheGatewayStops(t *testing.T) {
	t.Parallel()
	overBoth(t, func(t *testing.T, s served) {
		conn := s.dial()
		if _, err := fmt.Fprintf(conn, "GET /api/v1/stock/7 HTTP/1.1\r\nHost: shop\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		answers := bufio.NewReader(conn)
		answer, err := stdhttp.ReadResponse(answers, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		if _, err := io.Copy(io.Discard, answer.Body); err != nil || answer.StatusCode != stdhttp.StatusOK {
			t.Fatalf("%s, %v", answer.Status, err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go s.connections.Drain(ctx)
		if err := conn.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := answers.ReadByte(); err != io.EOF { // over TLS: with its farewell, or it is an unexpected EOF
			t.Errorf("it ended with %v", err)
		}
		s.wantConnections(0)
	})
}

// wantConnections waits until so many are known.
func (s served) wantConnections(want int) {
	s.t.Helper()
	got := -1
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		s.connections.mu.Lock()
		got = len(s.connections.known)
		s.connections.mu.Unlock()
		if got == want {
			return
		}
	}
	s.t.Fatalf("%d connections are known, want %d", got, want)
}

func TestWhatTheReaderOfAStreamSendsOverTLSWaitsWithIt(t *testing.T) {
	t.Parallel()
	s := serve(t, true)
	conn := s.raw()
	s.wantReaders(1)
	if err := conn.SetWriteDeadline(time.Now().Add(2 * time.Second)); err != nil {
		t.Fatal(err)
	}
	sent, err := io.Copy(conn, io.LimitReader(zeros{}, 256<<20))
	if err == nil {
		t.Errorf("%d bytes were taken", sent)
	}
}

type zeros struct{}

func (zeros) Read(into []byte) (int, error) { return len(into), nil }

func TestWhoSpeaksHTTPToTLSIsToldSo(t *testing.T) {
	t.Parallel()
	s := serve(t, true)
	answer, err := stdhttp.Get("http" + strings.TrimPrefix(s.url, "https") + "/api/v1/items")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != stdhttp.StatusBadRequest || string(text) != "This port speaks https.\n" {
		t.Errorf("%s %q, %v", answer.Status, text, err)
	}
}

func TestOldTLSIsRefused(t *testing.T) {
	t.Parallel()
	s := serve(t, true)
	conn, err := tls.Dial("tcp", strings.TrimPrefix(s.url, "https://"), &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11})
	if err == nil {
		_ = conn.Close()
		t.Error("TLS 1.1 was taken")
	}
	s.get("/api/v1/stock/7")
}
