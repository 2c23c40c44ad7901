package e2e

import (
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"testing"
)

func TestSearchRanksByWhereTheWordsAre(t *testing.T) {
	t.Parallel()
	onBothEngines(t, searchRanksByWhereTheWordsAre)
}

func searchRanksByWhereTheWordsAre(t *testing.T, s running) {
	for _, body := range []string{
		`{"title":"1","description":"goes with a jacket"}`,
		`{"title":"2","tags":["jackets"]}`,
		`{"title":"3 Jacketed potato"}`,
		`{"title":"4 Winter Jacket"}`,
		`{"title":"5 JACKET, très chaud","type":"T-Shirt"}`,
		`{"title":"6","vendor":"Jacket & Sons"}`,
		`{"title":"7 nothing"}`,
	} {
		s.send("POST", "/api/v1/items", body).want(t, http.StatusCreated, nil)
	}
	for query, want := range map[string]string{
		"jacket":        "[5 4 3 6 2 1]", // in the title as a word, newest first; as a prefix; vendor, type, tags; description
		"jack":          "[5 4 3 6 2 1]",
		"JACKET winter": "[4]",
		"jacket zebra":  "[]",
		"tres":          "[5]", // without its accent
		"t-shirt":       "[5]",
		`"jacket" OR *`: "[]", // operators are words
		"sons jack":     "[6]",
		"potatoes":      "[]",
	} {
		var got page
		s.send("GET", "/api/v1/items?q="+url.QueryEscape(query), "").want(t, http.StatusOK, &got)
		titles := []string{}
		for _, one := range got.Items {
			titles = append(titles, one.Title[:1])
		}
		if fmt.Sprint(titles) != want {
			t.Errorf("%s found %v, want %s", query, titles, want)
		}
	}
}

func TestSearchFollowsChanges(t *testing.T) {
	t.Parallel()
	onBothEngines(t, searchFollowsChanges)
}

func searchFollowsChanges(t *testing.T, s running) {
	path := fmt.Sprintf("/api/v1/items/%d", s.create("Beret").ID)
	found := func(query string) int {
		var got page
		s.send("GET", "/api/v1/items?q="+query, "").want(t, http.StatusOK, &got)
		return len(got.Items)
	}
	s.send("PATCH", path, `{"title":"Bowler"}`).want(t, http.StatusOK, nil)
	if got := []int{found("beret"), found("bowler")}; !reflect.DeepEqual(got, []int{0, 1}) {
		t.Errorf("after the change beret and bowler are found %v times", got)
	}
	s.send("DELETE", path, "").want(t, http.StatusNoContent, nil)
	if got := found("bowler"); got != 0 {
		t.Errorf("after the deletion bowler is found %d times", got)
	}
}

func TestACursorBelongsToItsQuery(t *testing.T) {
	t.Parallel()
	s := open(t, config(t.TempDir()))
	for range 3 {
		s.create("hat")
	}
	var first page
	s.send("GET", "/api/v1/items?limit=1&q=hat", "").want(t, http.StatusOK, &first)
	s.send("GET", "/api/v1/items?limit=1&q=hat&cursor="+first.Next, "").want(t, http.StatusOK, nil)
	s.send("GET", "/api/v1/items?limit=1&q=cap&cursor="+first.Next, "").want(t, http.StatusBadRequest, nil)
	s.send("GET", "/api/v1/items?limit=1&cursor="+first.Next, "").want(t, http.StatusBadRequest, nil)
}
