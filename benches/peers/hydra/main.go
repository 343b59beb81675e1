// Ory Hydra, as its own main.go starts it.
package main

import "github.com/ory/hydra/v2/cmd"

func main() { cmd.Execute() }
