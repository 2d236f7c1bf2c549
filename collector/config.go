package collector

// config shows how the last loading of the config went.
type config struct{ successful, lastSuccess *metric }

func newConfig(c *catalogue) config {
	return config{
		successful:  c.global("config_last_reload_successful", "Whether the last attempt to load the config succeeded; after a failure the config before it stays in use."),
		lastSuccess: c.global("config_last_reload_success_timestamp_seconds", "When the config was last loaded with success."),
	}
}

func (f config) collect(out *output, reload Reload) {
	out.flag(f.successful, reload.Successful)
	out.time(f.lastSuccess, reload.LastSuccess)
}
