"""Readers of the files that corpora come as: spreadsheets, tables of codes, lists of clips, folders, MATLAB files."""
