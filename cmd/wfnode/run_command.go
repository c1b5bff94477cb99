package main

import (
	"github.com/spf13/cobra"
)

func runCommand() *cobra.Command {
	var f nodeFlags
	var open bool
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run a node with its page, and make or join rooms there",
		Long: `Run a node that is in no room yet: on the console's page rooms are made, joined by
ticket and left, and streams are watched, published and recorded.`,
		Args: takes(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			n, err := f.parse(cmd, nil)
			if err != nil {
				return err
			}
			r, err := f.startNode(cmd, n, nil)
			if err != nil {
				return err
			}
			defer r.finish(&err)
			if open && r.console != nil {
				openBrowser(r.console.URL(), n)
			}
			r.ready()
			newWatcher(r.out, "").run(cmd.Context(), r.node.Status)
			return nil
		},
	}
	f.add(cmd.Flags())
	cmd.Flags().BoolVar(&open, "open", false, "open the console's page in a browser")
	f.addRelay(cmd.Flags())
	return cmd
}
