package e2e

import (
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"
)

func TestAnItemIsAnsweredAsItWasCreated(t *testing.T) {
	t.Parallel()
	s := open(t, config(t.TempDir()))
	got := s.send("POST", "/api/v1/items", `{
		"sku":"HAT-S","title":"<b>Hüt</b>","description":"a \"hat\"\nfor <you>","handle":"hat",
		"options":{"Size":"S","Colour":"Red"},"vendor":"V","type":"T","tags":["a","b"],
		"price":{"amount":1999,"currency":"EUR"},"images":["https://cdn.example.com/a.jpg"],"status":"draft"}`)
	var made item
	got.want(t, http.StatusCreated, &made)
	if location := got.header.Get("Location"); location != "/api/v1/items/1025" {
		t.Errorf("Location is %q", location)
	}
	if strings.ContainsAny(got.body, "<>") {
		t.Errorf("HTML is not escaped in %s", got.body)
	}
	if !strings.Contains(got.body, `"options":{"Size":"S","Colour":"Red"}`) {
		t.Errorf("the options are not in their order in %s", got.body)
	}
	zero := int64(0)
	want := item{
		ID: 1025, SKU: "HAT-S", Title: "<b>Hüt</b>", Description: "a \"hat\"\nfor <you>", Handle: "hat",
		Options: map[string]string{"Size": "S", "Colour": "Red"}, Vendor: "V", Type: "T", Tags: []string{"a", "b"},
		Price: &money{1999, "EUR"}, Images: []string{"https://cdn.example.com/a.jpg"}, Status: "draft",
		Stock: &zero, Version: 1, CreatedAt: made.CreatedAt, UpdatedAt: made.CreatedAt,
	}
	if !reflect.DeepEqual(made, want) {
		t.Errorf("created %+v, want %+v", made, want)
	}
	var read item
	if etag := s.send("GET", "/api/v1/items/1025", "").want(t, http.StatusOK, &read).header.Get("ETag"); etag != `"1"` {
		t.Errorf("ETag is %s", etag)
	}
	if !reflect.DeepEqual(read, want) {
		t.Errorf("read %+v, want %+v", read, want)
	}
}

func TestASKUIsMadeWhereNoneIsGiven(t *testing.T) {
	t.Parallel()
	s := open(t, config(t.TempDir()))
	for body, want := range map[string]string{
		`{"title":"a","handle":"hat","options":{"Size":"S","Colour":"Red"}}`: "hat-S-Red",
		`{"title":"b","handle":"cap"}`:                                       "cap",
	} {
		var made item
		s.send("POST", "/api/v1/items", body).want(t, http.StatusCreated, &made)
		if made.SKU != want {
			t.Errorf("%s has the SKU %q, want %q", body, made.SKU, want)
		}
	}
	if made := s.create("c"); made.SKU != fmt.Sprintf("item-%d", made.ID) {
		t.Errorf("item %d has the SKU %q", made.ID, made.SKU)
	}
}

func TestAnUpdateChangesWhatItNamesAndOnlyTheVersionThatWasSeen(t *testing.T) {
	t.Parallel()
	s := open(t, config(t.TempDir()))
	var got item
	s.send("POST", "/api/v1/items", `{"title":"Hat","vendor":"V","tags":["a"],"price":{"amount":5,"currency":"JPY"}}`).want(t, http.StatusCreated, &got)
	path := fmt.Sprintf("/api/v1/items/%d", got.ID)

	s.send("PATCH", path, `{"title":"Cap","price":null}`, `If-Match: "1"`).want(t, http.StatusOK, &got)
	if got.Title != "Cap" || got.Price != nil || got.Vendor != "V" || got.Version != 2 || !reflect.DeepEqual(got.Tags, []string{"a"}) {
		t.Errorf("after the update: %+v", got)
	}
	var refused problem
	s.send("PATCH", path, `{"title":"Beret"}`, `If-Match: "1"`).want(t, http.StatusPreconditionFailed, &refused)
	if refused.Code != "version_mismatch" {
		t.Errorf("code %s", refused.Code)
	}
	s.send("DELETE", path, "", `If-Match: "1"`).want(t, http.StatusPreconditionFailed, nil)
	s.send("GET", path, "").want(t, http.StatusOK, &got)
	if got.Title != "Cap" {
		t.Errorf("a refused update left the title %q", got.Title)
	}
	s.send("PATCH", path, `{"vendor":"W"}`, "Content-Type: application/merge-patch+json").want(t, http.StatusOK, &got)
	if got.Version != 3 || got.Vendor != "W" {
		t.Errorf("without If-Match: %+v", got)
	}
	s.send("PATCH", path, `{"vendor":"W"}`).want(t, http.StatusOK, &got)
	if got.Version != 3 {
		t.Errorf("an update that changes nothing made version %d", got.Version)
	}
}

func TestADeletedItemIsGoneAndItsIDIsNotUsedAgain(t *testing.T) {
	t.Parallel()
	s := open(t, config(t.TempDir()))
	first := s.create("a")
	path := fmt.Sprintf("/api/v1/items/%d", first.ID)
	s.send("GET", path, "").want(t, http.StatusOK, nil) // from now on it is cached
	s.send("DELETE", path, "").want(t, http.StatusNoContent, nil)
	for _, method := range []string{"GET", "DELETE"} {
		s.send(method, path, "").want(t, http.StatusNotFound, nil)
	}
	if second := s.create("b"); second.ID != first.ID+1 {
		t.Errorf("the next id is %d", second.ID)
	}
}

func TestPagesHoldEveryItemOnce(t *testing.T) {
	t.Parallel()
	s := open(t, config(t.TempDir()))
	want := []int64{1024}
	for i := range 24 {
		want = append(want, s.create(fmt.Sprintf("hat %d", i)).ID)
	}
	for _, query := range []string{"", "&q=ha"} {
		var ids []int64
		cursor := ""
		for {
			var got page
			s.send("GET", "/api/v1/items?limit=7"+query+cursor, "").want(t, http.StatusOK, &got)
			for _, one := range got.Items {
				ids = append(ids, one.ID)
			}
			if got.Next == "" {
				break
			}
			cursor = "&cursor=" + got.Next
		}
		expected := want
		if query != "" { // newest first, without the demo item
			expected = nil
			for i := len(want) - 1; i > 0; i-- {
				expected = append(expected, want[i])
			}
		}
		if !reflect.DeepEqual(ids, expected) {
			t.Errorf("pages with %q hold %v, want %v", query, ids, expected)
		}
	}
}

func TestReadingASecondTimeIsFreshAfterAnUpdate(t *testing.T) {
	t.Parallel()
	s := open(t, config(t.TempDir()))
	made := s.create("0")
	path := fmt.Sprintf("/api/v1/items/%d", made.ID)
	for i := range 50 {
		title := fmt.Sprint(i + 1)
		s.send("PATCH", path, fmt.Sprintf(`{"title":%q}`, title)).want(t, http.StatusOK, nil)
		var read item
		s.send("GET", path, "").want(t, http.StatusOK, &read)
		if read.Title != title {
			t.Fatalf("after the update to %s the title is %s", title, read.Title)
		}
	}
}
