package upstream

import (
	"testing"

	"github.com/kiteshop/kiteshop/services/internal/fault"
)

func TestAKindThatIsNoneIsRefused(t *testing.T) {
	t.Parallel()
	_, _, err := (&Activity{}).Trending(t.Context(), "liked", 0)
	if fault.CodeOf(err) != fault.InvalidArgument || err.Error() != `invalid_argument: kind must be viewed, bought or both, not "liked"` {
		t.Errorf("%v", err)
	}
}
