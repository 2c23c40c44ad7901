// Command kiteshop runs the whole shop in one process: go run .
package main

import "github.com/kiteshop/kiteshop/services/shop"

func main() { shop.Main() }
