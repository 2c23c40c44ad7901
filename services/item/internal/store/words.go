package store

import (
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// splitWords cuts a text into words as the index of SQLite does: at what is no
// letter and no digit, without regard to case and to the marks on Latin
// letters. That one knows the characters of 2012; younger ones are letters to it.
func splitWords(text string) []string {
	var words []string
	var word strings.Builder
	for _, r := range text + " " {
		switch {
		case isMark(r) && word.Len() > 0: // it belongs to the letter before
		case !unicode.In(r, unicode.M, unicode.P, unicode.S, unicode.Z, unicode.Cc, unicode.Cf):
			word.WriteRune(fold(r))
		case word.Len() > 0:
			words = append(words, word.String())
			word.Reset()
		}
	}
	return words
}

// isMark tells whether r is a mark that Latin letters have and that is ignored.
func isMark(r rune) bool {
	const marks = "\u0300\u0301\u0302\u0303\u0304\u0306\u0307\u0308\u0309\u030a\u030b\u030c\u030f\u0311\u031b" +
		"\u0323\u0324\u0325\u0326\u0327\u0328\u032d\u032e\u0330\u0331"
	return strings.ContainsRune(marks, r)
}

// fold gives the letter that stands for all its forms: a for Ä.
func fold(r rune) rune {
	if r != 'ı' { // which has a capital with another small letter
		r = unicode.ToLower(unicode.ToUpper(r))
	}
	if parts := norm.NFD.PropertiesString(string(r)).Decomposition(); len(parts) > 0 && parts[0] <= unicode.MaxASCII {
		return rune(parts[0])
	}
	return r
}
