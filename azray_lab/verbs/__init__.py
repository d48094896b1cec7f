"""The one tree of verbs that `azray` and `%azray` both parse; a verb is a module, imported when it is used."""
