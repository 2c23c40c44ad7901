package e2e

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
)

type reservation struct {
	ID        string    `json:"id"`
	State     string    `json:"state"`
	Lines     []line    `json:"lines"`
	Reference string    `json:"reference"`
	ExpiresAt time.Time `json:"expires_at"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
}

type line struct {
	ItemID   int64  `json:"item_id"`
	Quantity int64  `json:"quantity"`
	Location string `json:"location"`
}

const reservations = "/api/v1/reservations"

// stocked is an item of which units were received.
func (c client) stocked(title string, units int64) (id int64) {
	c.t.Helper()
	id = c.create(title).ID
	c.receive(id, units)
	return id
}

func (c client) reserve(id, quantity int64, header ...string) reservation {
	c.t.Helper()
	var made reservation
	c.send("POST", reservations, fmt.Sprintf(`{"lines":[{"item_id":%d,"quantity":%d}]}`, id, quantity), header...).want(c.t, http.StatusCreated, &made)
	return made
}

func (c client) step(id, name string, header ...string) reservation {
	c.t.Helper()
	var after reservation
	body := ""
	if name == "extend" {
		body = `{"ttl_seconds":3600}`
	}
	c.send("POST", reservations+"/"+id+"/"+name, body, header...).want(c.t, http.StatusOK, &after)
	return after
}

func (c client) wantBalance(id int64, want balance) {
	c.t.Helper()
	var got stock
	c.send("GET", fmt.Sprintf("/api/v1/stock/%d", id), "").want(c.t, http.StatusOK, &got)
	if got.balance != want {
		c.t.Errorf("the balance of item %d is %+v, want %+v", id, got.balance, want)
	}
}

func TestAReservationMovesUnitsStepByStep(t *testing.T) {
	t.Parallel()
	s := open(t, config(t.TempDir()))
	id := s.stocked("Hat", 10)

	var made reservation
	got := s.send("POST", reservations, fmt.Sprintf(`{"lines":[{"item_id":%d,"quantity":3}],"ttl_seconds":60,"reference":"cart-7"}`, id)).want(t, http.StatusCreated, &made)
	if got.header.Get("Location") != reservations+"/"+made.ID || got.header.Get("Idempotency-Key") == "" {
		t.Errorf("headers = %v", got.header)
	}
	if made.State != "HELD" || made.Reference != "cart-7" || made.ExpiresAt.Sub(made.CreatedAt) != time.Minute ||
		!reflect.DeepEqual(made.Lines, []line{{id, 3, "main"}}) {
		t.Errorf("made %+v", made)
	}
	s.wantBalance(id, balance{OnHand: 10, Available: 7, Held: 3, Version: 2})

	if extended := s.step(made.ID, "extend"); !extended.ExpiresAt.After(made.ExpiresAt.Add(50*time.Minute)) || extended.State != "HELD" {
		t.Errorf("extended %+v", extended)
	}
	if after := s.step(made.ID, "commit"); after.State != "COMMITTED" {
		t.Errorf("committed %+v", after)
	}
	s.wantBalance(id, balance{OnHand: 10, Available: 7, Committed: 3, Version: 3})
	if after := s.step(made.ID, "fulfil"); after.State != "FULFILLED" {
		t.Errorf("fulfilled %+v", after)
	}
	s.wantBalance(id, balance{OnHand: 7, Available: 7, Version: 4})

	var ledger movements
	s.send("GET", fmt.Sprintf("/api/v1/stock/%d/movements", id), "").want(t, http.StatusOK, &ledger)
	if len(ledger.Items) != 2 || ledger.Items[0].Delta != -3 || ledger.Items[0].Reason != "sold" || ledger.Items[0].Reference != made.ID {
		t.Errorf("the ledger is %+v", ledger.Items)
	}

	back := s.reserve(id, 7)
	s.wantBalance(id, balance{OnHand: 7, Held: 7, Version: 5})
	if after := s.step(back.ID, "release"); after.State != "RELEASED" {
		t.Errorf("released %+v", after)
	}
	s.wantBalance(id, balance{OnHand: 7, Available: 7, Version: 6})
}

func TestAReservationIsAllOrNothing(t *testing.T) {
	t.Parallel()
	s := open(t, config(t.TempDir()))
	plenty, few, none := s.stocked("Hat", 10), s.stocked("Kite", 2), s.create("Line").ID
	var refused struct {
		problem
		Lines []struct {
			ItemID    int64  `json:"item_id"`
			Location  string `json:"location"`
			Asked     int64  `json:"asked"`
			Available int64  `json:"available"`
		} `json:"lines"`
	}
	s.send("POST", reservations, fmt.Sprintf(`{"lines":[{"item_id":%d,"quantity":1},{"item_id":%d,"quantity":3},{"item_id":%d,"quantity":1}]}`, plenty, few, none)).
		want(t, http.StatusConflict, &refused)
	if text := fmt.Sprint(refused.Lines); refused.Code != "sold_out" || text != fmt.Sprintf("[{%d main 3 2} {%d main 1 0}]", few, none) {
		t.Errorf("refused with %s and %s", refused.Code, text)
	}
	s.wantBalance(plenty, balance{OnHand: 10, Available: 10, Version: 1})
	s.wantBalance(few, balance{OnHand: 2, Available: 2, Version: 1})
	s.wantBalance(none, balance{})
}

func TestAReservationHasUpToAHundredLines(t *testing.T) {
	t.Parallel()
	s := open(t, config(t.TempDir()))
	id := s.create("Hat").ID
	const unknown = 999_999
	lines := make([]string, 100)
	for i := range lines {
		at := fmt.Sprintf("shelf %d", i)
		s.send("POST", fmt.Sprintf("/api/v1/stock/%d/movements", id), fmt.Sprintf(`{"delta":2,"reason":"received","location":%q}`, at)).want(t, http.StatusCreated, nil)
		lines[i] = fmt.Sprintf(`{"item_id":%d,"quantity":1,"location":%q}`, id, at)
	}
	reserve := func() answer {
		return s.send("POST", reservations, `{"lines":[`+strings.Join(lines, ",")+`]}`)
	}
	var made reservation
	reserve().want(t, http.StatusCreated, &made)
	if len(made.Lines) != 100 {
		t.Errorf("%d lines", len(made.Lines))
	}
	s.wantBalance(id, balance{OnHand: 200, Available: 100, Held: 100, Version: 200})

	var refused struct {
		problem
		Lines []struct {
			ItemID    int64  `json:"item_id"`
			Location  string `json:"location"`
			Asked     int64  `json:"asked"`
			Available int64  `json:"available"`
		} `json:"lines"`
	}
	good := lines[50]
	lines[50] = fmt.Sprintf(`{"item_id":%d,"quantity":1}`, unknown)
	reserve().want(t, http.StatusConflict, &refused)
	if text := fmt.Sprint(refused.Lines); refused.Code != "sold_out" || text != fmt.Sprintf("[{%d main 1 0}]", unknown) {
		t.Errorf("an unknown item among good ones: refused with %s and %s", refused.Code, text)
	}
	s.wantBalance(id, balance{OnHand: 200, Available: 100, Held: 100, Version: 200})

	lines[50] = good
	reserve().want(t, http.StatusCreated, nil)
	reserve().want(t, http.StatusConflict, &refused)
	if len(refused.Lines) != 100 || refused.Lines[99].Location != "shelf 99" || refused.Lines[99].Asked != 1 || refused.Lines[99].Available != 0 {
		t.Errorf("all are sold out: %d lines, the last is %+v", len(refused.Lines), refused.Lines[len(refused.Lines)-1])
	}
	s.wantBalance(id, balance{OnHand: 200, Held: 200, Version: 300})
}

func TestAnotherKeyIsAnotherCommand(t *testing.T) {
	t.Parallel()
	s := open(t, config(t.TempDir()))
	id := s.stocked("Hat", 10)
	first, second := s.reserve(id, 1, "Idempotency-Key: a"), s.reserve(id, 1, "Idempotency-Key: b")
	if first.ID == second.ID {
		t.Errorf("both are %s", first.ID)
	}
	s.step(first.ID, "commit", "Idempotency-Key: a") // the key of another operation
	s.step(first.ID, "commit", "Idempotency-Key: b") // taken already
	s.step(second.ID, "release", "Idempotency-Key: a")
	s.wantBalance(id, balance{OnHand: 10, Available: 9, Committed: 1, Version: 5})
}

func TestAStepIsTakenInTheRightStateOnly(t *testing.T) {
	t.Parallel()
	s := open(t, config(t.TempDir()))
	id := s.stocked("Hat", 100)
	for _, c := range []struct {
		taken []string
		step  string
		state string // the refusal names it; "": the step is taken, or was
	}{
		{nil, "fulfil", "HELD"},
		{[]string{"commit"}, "release", "COMMITTED"},
		{[]string{"commit"}, "extend", "COMMITTED"},
		{[]string{"commit"}, "commit", ""},
		{[]string{"commit", "fulfil"}, "commit", "FULFILLED"},
		{[]string{"commit", "fulfil"}, "release", "FULFILLED"},
		{[]string{"commit", "fulfil"}, "fulfil", ""},
		{[]string{"release"}, "commit", "RELEASED"},
		{[]string{"release"}, "fulfil", "RELEASED"},
		{[]string{"release"}, "extend", "RELEASED"},
		{[]string{"release"}, "release", ""},
	} {
		made := s.reserve(id, 1)
		for _, step := range c.taken {
			s.step(made.ID, step)
		}
		if c.state == "" {
			s.step(made.ID, c.step)
			continue
		}
		body := ""
		if c.step == "extend" {
			body = `{}`
		}
		var refused struct {
			problem
			State string `json:"state"`
		}
		s.send("POST", reservations+"/"+made.ID+"/"+c.step, body).want(t, http.StatusConflict, &refused)
		if refused.Code != "wrong_state" || refused.State != c.state {
			t.Errorf("%s after %v: refused with %s in the state %q, want %q", c.step, c.taken, refused.Code, refused.State, c.state)
		}
	}
}

func TestTheSameKeyReservesOnceAndIsAnsweredTheSame(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var made, committed reservation
	var id int64
	key, stepKey := "Idempotency-Key: cart-7", "Idempotency-Key: pay-7"
	t.Run("before", func(t *testing.T) {
		s := open(t, config(dir))
		id = s.stocked("Hat", 10)
		made = s.reserve(id, 3, key)
		committed = s.step(made.ID, "commit", stepKey)
	})
	s := open(t, config(dir)) // a restart
	s.step(made.ID, "fulfil")
	if again := s.reserve(id, 3, key); !reflect.DeepEqual(again, made) {
		t.Errorf("reserved again: %+v, want %+v", again, made)
	}
	if again := s.step(made.ID, "commit", stepKey); !reflect.DeepEqual(again, committed) {
		t.Errorf("committed again: %+v, want %+v", again, committed)
	}
	s.wantBalance(id, balance{OnHand: 7, Available: 7, Version: 4})

	other := s.reserve(id, 1)
	for path, body := range map[string]string{
		reservations: fmt.Sprintf(`{"lines":[{"item_id":%d,"quantity":4}]}`, id),
		reservations + "/" + other.ID + "/commit": "",
	} {
		used := map[bool]string{true: key, false: stepKey}[path == reservations]
		var refused problem
		s.send("POST", path, body, used).want(t, http.StatusUnprocessableEntity, &refused)
		if refused.Code != "key_reused" {
			t.Errorf("%s: refused with %s", path, refused.Code)
		}
	}
}

func TestARefusedReservationDoesNotBurnItsKey(t *testing.T) {
	t.Parallel()
	s := open(t, config(t.TempDir()))
	id, key := s.stocked("Hat", 1), "Idempotency-Key: k"
	s.send("POST", reservations, fmt.Sprintf(`{"lines":[{"item_id":%d,"quantity":2}]}`, id), key).want(t, http.StatusConflict, nil)
	s.receive(id, 1)
	s.reserve(id, 2, key)
}

func TestWhatNobodyBuysInTimeIsAvailableAgain(t *testing.T) {
	t.Parallel()
	cfg := config(t.TempDir())
	cfg.Stock.ExpireEvery = 20 * time.Millisecond
	s := open(t, cfg)
	id := s.stocked("Hat", 10)
	var short reservation
	s.send("POST", reservations, fmt.Sprintf(`{"lines":[{"item_id":%d,"quantity":3}],"ttl_seconds":1}`, id)).want(t, http.StatusCreated, &short)
	kept := s.reserve(id, 4)
	eventually(t, "it expires", func() bool {
		var now reservation
		s.send("GET", reservations+"/"+short.ID, "").want(t, http.StatusOK, &now)
		return now.State == "EXPIRED" && !now.UpdatedAt.Before(short.ExpiresAt)
	})
	s.wantBalance(id, balance{OnHand: 10, Available: 6, Held: 4, Version: 4})
	s.send("POST", reservations+"/"+short.ID+"/commit", "").want(t, http.StatusConflict, nil)
	s.step(kept.ID, "commit")
}

func TestReservationsAreListedByStateItemAndReference(t *testing.T) {
	t.Parallel()
	s := open(t, config(t.TempDir()))
	hat, kite := s.stocked("Hat", 100), s.stocked("Kite", 100)
	var made []string
	for i := range 5 {
		id := hat
		if i == 2 {
			id = kite
		}
		var r reservation
		s.send("POST", reservations, fmt.Sprintf(`{"lines":[{"item_id":%d,"quantity":1}],"reference":"cart-%d"}`, id, i%2)).want(t, http.StatusCreated, &r)
		made = append(made, r.ID)
	}
	s.step(made[3], "release")
	for query, want := range map[string][]int{
		"":                              {4, 3, 2, 1, 0},
		"state=HELD":                    {4, 2, 1, 0},
		"state=RELEASED":                {3},
		"state=EXPIRED":                 {},
		"reference=cart-1":              {3, 1},
		"reference=cart-2":              {},
		fmt.Sprintf("item_id=%d", kite): {2},
		"reference=cart-0&state=HELD":   {4, 2, 0},
		fmt.Sprintf("item_id=%d&state=HELD", hat): {4, 1, 0},
	} {
		var got []string
		cursor, pages := "", 0
		for {
			var page struct {
				Items []reservation `json:"items"`
				Next  string        `json:"next_cursor"`
			}
			s.send("GET", reservations+"?limit=2&"+query+cursor, "").want(t, http.StatusOK, &page)
			for _, r := range page.Items {
				got = append(got, r.ID)
			}
			pages++
			if cursor = "&cursor=" + page.Next; page.Next == "" {
				break
			}
		}
		var ids []string
		for _, i := range want {
			ids = append(ids, made[i])
		}
		if !reflect.DeepEqual(got, ids) || pages != max(1, (len(want)+1)/2) {
			t.Errorf("%q: %v in %d pages, want %v", query, got, pages, ids)
		}
	}
}

func TestABadReservationIsAnsweredWithWhatIsAllowed(t *testing.T) {
	t.Parallel()
	s := open(t, config(t.TempDir()))
	id := s.stocked("Hat", 10)
	made := s.reserve(id, 1)
	many := strings.TrimSuffix(strings.Repeat(`{"item_id":1,"quantity":1},`, 101), ",")
	for _, c := range []struct {
		method, path, body string
		status             int
		detail             string
	}{
		{"POST", "", `{}`, 400, "lines must be 1 to 100 lines, not 0"},
		{"POST", "", `{"lines":[` + many + `]}`, 400, "lines must be 1 to 100 lines, not 101"},
		{"POST", "", `{"lines":[{"item_id":1,"quantity":0}]}`, 400, "lines[0].quantity must be 1 to 1000000000"},
		{"POST", "", `{"lines":[{"item_id":1,"quantity":-1}]}`, 400, "lines[0].quantity must be 1 to 1000000000"},
		{"POST", "", `{"lines":[{"item_id":1,"quantity":1000000001}]}`, 400, "lines[0].quantity must be 1 to 1000000000"},
		{"POST", "", `{"lines":[{"item_id":1,"quantity":9223372036854775808}]}`, 400, "lines[0].quantity must be an integer"},
		{"POST", "", `{"lines":[{"item_id":1,"quantity":1.5}]}`, 400, "lines[0].quantity must be an integer"},
		{"POST", "", `{"lines":[{"item_id":1}]}`, 400, "lines[0].quantity must be 1 to 1000000000"},
		{"POST", "", `{"lines":null}`, 400, "lines must be 1 to 100 lines, not 0"},
		{"POST", "", `{"lines":[{"item_id":9223372036854775808,"quantity":1}]}`, 400, "lines[0].item_id must be an integer"},
		{"POST", "", `{"lines":[{"item_id":-1,"quantity":1}]}`, 400, "lines[0].item_id must be a positive integer"},
		{"POST", "", `{"lines":[{"item_id":1,"quantity":1,"sku":"x"}]}`, 400, "lines[0].sku is no field of this object"},
		{"POST", "", `{"lines":[{"item_id":1,"quantity":1,"location":"` + strings.Repeat("x", 256) + `"}]}`, 400, "lines[0].location must be valid UTF-8 of at most 255 characters"},
		{"POST", "", `{"lines":[{"item_id":1,"quantity":1}],"ttl_seconds":-1}`, 400, "ttl_seconds must be 1 to 86400, not -1"},
		{"POST", "", `{"lines":[{"item_id":1,"quantity":1}],"ttl_seconds":9223372036854775808}`, 400, "ttl_seconds must be an integer"},
		{"POST", "", `{"lines":[{"item_id":1,"quantity":1}],"actor":"ann"}`, 400, "actor is no field of this object"},
		{"POST", "", `{"lines":[{"item_id":0,"quantity":1}]}`, 400, "lines[0].item_id must be a positive integer"},
		{"POST", "", `{"lines":[{"item_id":1,"quantity":1},{"item_id":1,"quantity":2}]}`, 400, "lines[1].item_id is the same as in lines[0]; add their quantities"},
		{"POST", "", `{"lines":[{"item_id":1,"quantity":1}],"ttl_seconds":0}`, 400, "ttl_seconds must be 1 to 86400, not 0"},
		{"POST", "", `{"lines":[{"item_id":1,"quantity":1}],"ttl_seconds":86401}`, 400, "ttl_seconds must be 1 to 86400, not 86401"},
		{"POST", "", `{"lines":[{"item_id":1,"quantity":1}],"reference":"` + strings.Repeat("x", 256) + `"}`, 400, "reference must be valid UTF-8 of at most 255 characters"},
		{"POST", "", `{"lines":[{"item_id":1,"quantity":1}],"ttl":5}`, 400, "ttl is no field of this object"},
		{"POST", "", `{"lines":[{"item_id":1,"quantity":1,"location":"moon"}]}`, 409, "of item 1 at moon 1 are asked for and 0 available"},
		{"POST", "/" + made.ID + "/extend", `{"ttl_seconds":86401}`, 400, "ttl_seconds must be 1 to 86400, not 86401"},
		{"POST", "/" + made.ID + "/extend", `{"ttl_seconds":0}`, 400, "ttl_seconds must be 1 to 86400, not 0"},
		{"POST", "/" + made.ID + "/extend", `{"ttl_seconds":-1}`, 400, "ttl_seconds must be 1 to 86400, not -1"},
		{"POST", "/" + made.ID + "/extend", `{"actor":"ann"}`, 400, "actor is no field of this object"},
		{"POST", "/" + made.ID + "/extend", ``, 400, "body is empty; it must be a JSON object"},
		{"POST", "/" + made.ID + "/extend", `null`, 400, "body must be an object, not null"},
		{"POST", "/" + made.ID + "/commit", `null`, 400, "body must be an object, not null"},
		{"POST", "/" + made.ID + "/commit", `{"quantity":1}`, 400, "quantity is no field of this object"},
		{"POST", "/" + made.ID + "/release", `{"lines":[]}`, 400, "lines is no field of this object"},
		{"POST", "/" + made.ID + "/fulfil", `{"actor":7}`, 400, "actor must be a string"},
		{"POST", "/" + made.ID + "/fulfil", `{"actor":"` + strings.Repeat("x", 256) + `"}`, 400, "actor must be valid UTF-8 of at most 255 characters"},
		{"POST", "/" + made.ID + "/cancel", ``, 404, "there is nothing at"},
		{"POST", "/nobody/commit", ``, 404, `there is no reservation "nobody"`},
		{"POST", "/00000000-0000-7000-8000-000000000000/commit", ``, 404, `there is no reservation "00000000-0000-7000-8000-000000000000"`},
		{"POST", "/00000000-0000-7000-8000-000000000000/fulfil", ``, 404, `there is no reservation "00000000-0000-7000-8000-000000000000"`},
		{"POST", "/00000000-0000-7000-8000-000000000000/release", ``, 404, `there is no reservation "00000000-0000-7000-8000-000000000000"`},
		{"POST", "/00000000-0000-7000-8000-000000000000/extend", `{}`, 404, `there is no reservation "00000000-0000-7000-8000-000000000000"`},
		{"GET", "/nobody", ``, 404, `there is no reservation "nobody"`},
		{"GET", "?state=held", ``, 400, `state must be HELD, COMMITTED, FULFILLED, RELEASED or EXPIRED, not "held"`},
		{"GET", "?state=", ``, 400, `state must be HELD, COMMITTED, FULFILLED, RELEASED or EXPIRED, or be left out`},
		{"GET", "?item_id=0", ``, 400, "item_id must be a positive integer"},
		{"GET", "?cursor=x", ``, 400, "cursor must be the next_cursor of the page before"},
	} {
		var refused problem
		s.send(c.method, reservations+c.path, c.body).want(t, c.status, &refused)
		if !strings.Contains(refused.Detail, c.detail) {
			t.Errorf("%s %s %.60s: %q, want %q", c.method, c.path, c.body, refused.Detail, c.detail)
		}
	}
	s.wantBalance(id, balance{OnHand: 10, Available: 9, Held: 1, Version: 2})
}

func TestASellOutReservesExactlyWhatThereIs(t *testing.T) {
	t.Parallel()
	s := open(t, config(t.TempDir()))
	const units, callers, each = 500, 64, 16
	id := s.stocked("Hat", units)
	counts := map[string]int{}
	var mu sync.Mutex
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			for range each {
				got := s.send("POST", reservations, fmt.Sprintf(`{"lines":[{"item_id":%d,"quantity":1}]}`, id))
				var refused problem
				_ = json.Unmarshal([]byte(got.body), &refused)
				mu.Lock()
				counts[fmt.Sprint(got.status, refused.Code)]++
				mu.Unlock()
			}
		})
	}
	all.Wait()
	if want := map[string]int{"201": units, "409sold_out": callers*each - units}; !reflect.DeepEqual(counts, want) {
		t.Errorf("answers = %v, want %v", counts, want)
	}
	s.wantBalance(id, balance{OnHand: units, Held: units, Version: units + 1})
}

// TestKill9LosesNoReservationAndInventsNone kills the shop while reservations
// are made, committed and released, and then compares what was acknowledged.
func TestKill9LosesNoReservationAndInventsNone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	acknowledged := map[string]string{} // the state of a reservation, by id
	var mu sync.Mutex
	for round := range 5 {
		p := start(t, dir)
		p.send("POST", "/api/v1/stock/1024/movements", `{"delta":10000,"reason":"received"}`, fmt.Sprintf("Idempotency-Key: fill-%d", round))
		killed := make(chan struct{})
		time.AfterFunc(time.Duration(60+round*60)*time.Millisecond, func() {
			p.kill()
			close(killed)
		})
		var all sync.WaitGroup
		for caller := range 4 {
			all.Go(func() {
				for i := 0; ; i++ {
					got, err := p.try("POST", reservations, strings.NewReader(`{"lines":[{"item_id":1024,"quantity":1}]}`), fmt.Sprintf("Idempotency-Key: %d-%d-%d", round, caller, i))
					if err != nil {
						return
					}
					var made reservation
					if got.status != http.StatusCreated || json.Unmarshal([]byte(got.body), &made) != nil {
						return // it answered while it was being killed
					}
					mu.Lock()
					acknowledged[made.ID] = "HELD"
					mu.Unlock()
					step := []string{"commit", "release"}[i%2]
					mu.Lock()
					acknowledged[made.ID] = "HELD or " + step
					mu.Unlock()
					if got, err = p.try("POST", reservations+"/"+made.ID+"/"+step, nil); err != nil || got.status != http.StatusOK {
						return
					}
					mu.Lock()
					acknowledged[made.ID] = map[string]string{"commit": "COMMITTED", "release": "RELEASED"}[step]
					mu.Unlock()
				}
			})
		}
		all.Wait()
		<-killed
	}
	if len(acknowledged) == 0 {
		t.Fatal("nothing was acknowledged before the kills")
	}
	p := start(t, dir)
	for id, want := range acknowledged {
		var now reservation
		p.send("GET", reservations+"/"+id, "").want(t, http.StatusOK, &now)
		if now.State != want && !strings.HasPrefix(want, "HELD") {
			t.Errorf("reservation %s is %s, and %s was acknowledged", id, now.State, want)
		}
	}
	p.kill()
	wantExact(t, dir)
}

// wantExact checks the invariants of stock.db that no constraint keeps.
func wantExact(t *testing.T, dir string) {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(dir, "stock.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for what, query := range map[string]string{
		"on hand and the ledger": `
			SELECT count(*) FROM stock WHERE on_hand <> (SELECT coalesce(sum(delta), 0) FROM movements m WHERE (m.item_id, m.location) = (stock.item_id, stock.location))`,
		"held and the reservations": `
			SELECT count(*) FROM stock WHERE held <> (SELECT coalesce(sum(quantity), 0) FROM reservation_lines l
				WHERE state = 'HELD' AND (l.item_id, l.location) = (stock.item_id, stock.location))`,
		"committed and the reservations": `
			SELECT count(*) FROM stock WHERE committed <> (SELECT coalesce(sum(quantity), 0) FROM reservation_lines l
				WHERE state = 'COMMITTED' AND (l.item_id, l.location) = (stock.item_id, stock.location))`,
		"reservations and their lines": `SELECT count(*) FROM reservations WHERE id NOT IN (SELECT reservation_id FROM reservation_lines)`,
	} {
		var differ int
		if err := db.QueryRow(query).Scan(&differ); err != nil || differ != 0 {
			t.Errorf("%s differ in %d rows (error %v)", what, differ, err)
		}
	}
}
