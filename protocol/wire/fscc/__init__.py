"""The information classes of [MS-FSCC]: what QUERY_INFO, SET_INFO and QUERY_DIRECTORY carry."""
