// Command load asks an installed shop without a pause until it is told to stop,
// and tells what failed: a POST to /end, on -listen, is answered with a summary,
// which compares the books with what was acknowledged.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"time"
)

func main() {
	gateway := flag.String("gateway", "http://127.0.0.1:8889", "`URL` of the shop")
	listen := flag.String("listen", ":8080", "`address` of /progress and /end")
	rate := flag.Int("rate", 300, "requests in a second")
	clients := flag.Int("clients", 20, "clients, each of which waits for an answer before it asks again")
	flag.Parse()
	if *rate < 1 || *clients < 1 {
		exit(fmt.Errorf("-rate is %d and -clients is %d; both must be 1 or more", *rate, *clients))
	}
	l := newLoad(*gateway, *clients)
	if err := l.stockUp(context.Background()); err != nil {
		exit(err)
	}
	l.start(time.Second * time.Duration(*clients) / time.Duration(*rate))
	http.HandleFunc("GET /progress", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, l.requests.Load()) })
	http.HandleFunc("POST /end", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(l.end(r.Context())) // who asked has gone
	})
	server := http.Server{Addr: *listen, ReadHeaderTimeout: 10 * time.Second}
	exit(server.ListenAndServe())
}

func exit(err error) {
	fmt.Fprintln(os.Stderr, "load:", err)
	os.Exit(1)
}
