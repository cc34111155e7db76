-- variants on sale of the keys that are asked for; materialized, so that no plan begins elsewhere
picked as materialized (
  select id, product_tmpl_id, default_code, barcode from product_product where id = any($1) and active
), item as materialized (
  select p.id, t.id as template, t.categ_id, u.rounding as unit,
         case when {{sku}} = 'barcode' then p.barcode else p.default_code end as sku
    from picked p
    join product_template t on t.id = p.product_tmpl_id
    join uom_uom u on u.id = t.uom_id
    cross join company
    left join res_company maker on maker.id = t.company_id
   where t.active
     -- of all companies, of this one, or of one above a branch
     and (t.company_id is null or company.parent_path like maker.parent_path || '%')
     and case when {{sku}} = 'barcode' then p.barcode else p.default_code end <> ''
     {{#on_sale}}and t.sale_ok{{/on_sale}}
)
