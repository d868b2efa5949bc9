"""Readers of the files of corpora: spreadsheets, code tables, lists of clips, folders, MATLAB files."""
