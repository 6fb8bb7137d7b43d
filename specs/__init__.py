"""What a server is: YAML is loaded, merged, validated into a typed Spec, and resolved to a Plan."""
