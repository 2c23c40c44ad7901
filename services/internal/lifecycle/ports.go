package lifecycle

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"time"
)

// readyTimeout bounds one look at all parts.
const readyTimeout = time.Second

func (s *Service) openPorts(cfg Config, metrics http.Handler) error {
	var err error
	if s.debug, err = Listen("debug", cfg.Debug); err != nil {
		return err
	}
	s.debugMux = debugMux()
	s.debugMux.HandleFunc("GET /debug/{$}", s.debugIndex)
	s.Add(httpPart("debug port", s.debug, s.debugMux))
	if tcp, ok := s.debug.Addr().(*net.TCPAddr); !ok || !tcp.IP.IsLoopback() {
		return fmt.Errorf("debug address %s: it must be a loopback address, as 127.0.0.1", cfg.Debug)
	}
	if s.admin, err = Listen("admin", cfg.Admin); err != nil {
		return err
	}
	s.Add(httpPart("admin port", s.admin, s.adminHandler(metrics)))
	return nil
}

// Listen opens a TCP port. The error names what the port is for.
func Listen(purpose, address string) (net.Listener, error) {
	ln, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("the %s address %s cannot be opened (give another with -%s): %w", purpose, address, purpose, err)
	}
	return ln, nil
}

func (s *Service) adminHandler(metrics http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), readyTimeout)
		defer cancel()
		missing := s.Ready(ctx)
		w.Header().Set("Content-Type", "application/json")
		if len(missing) > 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"ready": len(missing) == 0, "missing": missing})
	})
	mux.Handle("GET /metrics", metrics)
	return mux
}

// HandleDebug adds an answer to the debug port, below /debug/, and a line about it to the page there.
// A name that ends with a slash answers for all below it too.
func (s *Service) HandleDebug(name, about string, handler http.HandlerFunc) {
	s.debugMux.HandleFunc("GET /debug/"+name, handler)
	s.debugPages = append(s.debugPages, debugPage{name, about})
}

type debugPage struct{ Name, About string }

// debugIndex lists what the debug port answers.
func (s *Service) debugIndex(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	fmt.Fprint(w, "<!doctype html><title>debug</title><ul>\n")
	for _, page := range append(s.debugPages, debugPage{"pprof/", "profiles of this process"}) {
		fmt.Fprintf(w, "<li><a href=\"/debug/%s\">/debug/%[1]s</a> %s\n", page.Name, page.About)
	}
	fmt.Fprint(w, "</ul>\n")
}

func debugMux() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return mux
}

func httpPart(name string, ln net.Listener, handler http.Handler) Part {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	return Part{
		Name: name,
		Serve: func() error {
			if err := server.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
				return err
			}
			return nil
		},
		Stop: func(ctx context.Context) error {
			err := server.Shutdown(ctx)
			_ = ln.Close() // a server that never served does not know its listener
			return err
		},
	}
}
