"""The configuration: `ksmbd.conf`/`smb.conf` syntax or YAML, read into typed settings.

`ini` and `yaml_file` read text to sections with file and line; `parameters` is the one table of
what may be said; `values` turns its text to values; `load` puts the settings together.
"""
