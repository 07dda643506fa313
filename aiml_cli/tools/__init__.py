"""Tools that run on this machine: commands, Python functions and MCP servers, with approval."""
